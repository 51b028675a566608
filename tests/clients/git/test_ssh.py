"""The remote over ssh, at a real sshd on loopback: the server's deploy key and known hosts, and nothing of a person."""

import getpass
import os
import subprocess
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from ssh_server import SshServer, agent_with, new_key

from infra_mcp.clients.git import Login, Remote, Upstream
from infra_mcp.errors import InfraError, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.remote-race")]


@pytest.fixture
def ssh(tmp_path):
    with SshServer(tmp_path / "sshd").up() as server:
        yield server


@pytest.fixture
def origin(repo, tmp_path):
    top = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", repo.top, top], check=True)
    return type(repo)(top)


@asynccontextmanager
async def upstream(tmp_path, url, login):
    home = tmp_path / "clones"
    async with aclosing(Upstream(home / "a.git", home / "a.lock", Remote(url, login))) as made:
        yield made


async def refused(tmp_path, url, login):
    async with upstream(tmp_path, url, login) as it:
        with pytest.raises(InfraError) as caught:
            await it.latest("main")
    return caught.value


def change_passphrase(key):
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True)


@pytest.mark.parametrize("folder", ["plain", "with blank, 100% and 'quote'"])
async def test_a_change_is_fetched_and_pushed_with_the_deploy_key(ssh, origin, tmp_path, folder):
    keys = tmp_path / folder
    keys.mkdir()
    login = Login(
        key_file=ssh.key_file.rename(keys / "deploy"), known_hosts=ssh.known_hosts().rename(keys / "known_hosts")
    )
    async with upstream(tmp_path, ssh.url(origin.top), login) as it:
        base = await it.latest("main")
        commit = await it.build_commit(base, {"apps/docs/web.yaml": b"image: site:2.0\n"}, "Deploy docs 2.0\n", 0)
        await it.move("main", commit, base)
        assert await it.latest("main") == origin.head() == commit


async def test_a_host_key_that_is_not_the_known_one_is_refused_with_what_to_do(ssh, origin, tmp_path):
    other = " ".join(new_key(tmp_path / "other").split()[:2])
    login = Login(key_file=ssh.key_file, known_hosts=ssh.known_hosts(other))
    error = await refused(tmp_path, ssh.url(origin.top), login)

    assert error.code == "git-failed"
    assert f"is not the one in {login.known_hosts}" in error.what
    assert "Compare the key with the fingerprints that its owner publishes" in error.next_step
    assert "Accepted publickey" not in ssh.log()


@pytest.mark.parametrize("named", [True, False])
async def test_a_host_that_is_not_known_is_refused_and_not_written_down(ssh, origin, tmp_path, named):
    empty = tmp_path / "known"
    empty.touch()
    login = Login(key_file=ssh.key_file, known_hosts=empty if named else None)
    error = await refused(tmp_path, ssh.url(origin.top), login)

    assert f"is not in {empty if named else '/etc/ssh/ssh_known_hosts'}" in error.what
    assert empty.read_bytes() == b""
    assert "Accepted publickey" not in ssh.log()


async def test_a_key_that_others_may_read_is_refused_before_anything_is_asked(ssh, origin, tmp_path):
    ssh.key_file.chmod(0o640)
    error = await refused(tmp_path, ssh.url(origin.top), Login(key_file=ssh.key_file, known_hosts=ssh.known_hosts()))

    assert error.code == "setup-failed"
    assert error.next_step == f"chmod 600 {ssh.key_file}"
    assert "Connection" not in ssh.log()


async def test_a_key_that_the_remote_does_not_take_is_named(ssh, origin, tmp_path):
    new_key(tmp_path / "other")
    login = Login(key_file=tmp_path / "other", known_hosts=ssh.known_hosts())
    error = await refused(tmp_path, ssh.url(origin.top), login)

    assert "refused the login" in error.what
    assert "Permission denied" in error.what
    assert str(tmp_path / "other") in error.next_step


async def test_a_key_with_a_passphrase_is_refused_without_a_prompt(ssh, origin, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    prompt = tmp_path / "askpass"
    prompt.write_text(f"#!/bin/sh\necho >>{asked}; echo secret\n", encoding="utf-8")
    prompt.chmod(0o700)
    for name, value in {"SSH_ASKPASS": str(prompt), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}.items():
        monkeypatch.setenv(name, value)
    change_passphrase(ssh.key_file)
    error = await refused(tmp_path, ssh.url(origin.top), Login(key_file=ssh.key_file, known_hosts=ssh.known_hosts()))

    assert "refused the login" in error.what
    assert not asked.exists()


async def test_a_remote_whose_sshd_is_away_is_waited_for(origin, tmp_path):
    ssh = SshServer(tmp_path / "sshd")
    error = await refused(tmp_path, ssh.url(origin.top), Login(key_file=ssh.key_file, known_hosts=ssh.known_hosts()))

    assert isinstance(error, Unavailable)
    assert error.code == "remote-unreachable"


@pytest.fixture
def agent(ssh, origin, tmp_path, monkeypatch):  # noqa: ARG001 - made before the settings are others
    """The agent and git settings of a person who has the deploy key."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -i {ssh.key_file}")
    text = f"[core]\n sshCommand = ssh -i {ssh.key_file}\n"
    Path(os.environ["HOME"], ".gitconfig").write_text(text, encoding="utf-8")
    with agent_with(ssh.key_file, tmp_path / "agent"):
        yield


@pytest.mark.usefixtures("agent")
async def test_neither_the_agent_nor_the_keys_and_settings_of_a_person_are_used(ssh, origin, tmp_path):
    """The policy names no key."""
    error = await refused(tmp_path, ssh.url(origin.top), Login(known_hosts=ssh.known_hosts()))

    assert "refused the login" in error.what
    assert "key_file" in error.next_step
    assert "Accepted publickey" not in ssh.log()


@pytest.fixture
def rewritten(ssh, origin):
    """An address over HTTP, of which a person's git settings make one over ssh with their key."""
    url = f"http://127.0.0.1:1{origin.top}"
    there = f"ssh://{getpass.getuser()}@127.0.0.1:{ssh.port}/"
    text = f"[core]\n sshCommand = ssh -o StrictHostKeyChecking=no -i {ssh.key_file}\n"
    text += f'[url "{there}"]\n insteadOf = http://127.0.0.1:1/\n'
    Path(os.environ["HOME"], ".gitconfig").write_text(text, encoding="utf-8")
    subprocess.run(["git", "ls-remote", url], capture_output=True, check=True)
    return url


async def test_no_rewriting_of_addresses_by_a_person_leads_elsewhere(ssh, rewritten, tmp_path):
    before = ssh.log().count("Accepted publickey")
    error = await refused(tmp_path, rewritten, Login())

    assert error.code == "remote-unreachable"
    assert ssh.log().count("Accepted publickey") == before == 1
