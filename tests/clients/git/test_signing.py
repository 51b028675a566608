"""Commits signed with the server's own ssh key: git accepts them, and no key, agent or prompt of a person is used."""

import subprocess
from pathlib import Path

import pytest
from ssh_server import agent_with, new_key

from infra_mcp.clients.git import Committer, Git
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio

NAME = "The infra peer <infra@example.org>"
CHANGE = {"apps/docs/web.yaml": b"image: site:2.0\n"}
MESSAGE = "Deploy docs 2.0\n\nWhy: a release.\n\nInfra-Request: req-1\n"


@pytest.fixture
def key(tmp_path):
    """The server's key; nothing else of it is there."""
    file = tmp_path / "signing-key"
    public = new_key(file)
    file.with_suffix(".pub").unlink()
    (tmp_path / "allowed").write_text(f"infra@example.org {public}\n", encoding="utf-8")
    return file


@pytest.fixture
def signing(git, key):
    git.committer = Committer(NAME, key)
    return git


def verified(repo, tmp_path, commit):
    """Whether git accepts the signature, and what it says."""
    allowed = f"gpg.ssh.allowedSignersFile={tmp_path / 'allowed'}"
    words = ["git", "-C", repo.top, "-c", allowed, "verify-commit", "-v", commit]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


async def test_git_accepts_the_signature_for_the_committer_and_the_message_is_whole(repo, signing, tmp_path):
    base = await signing.head("main")
    commit = await signing.build_commit(base, CHANGE, MESSAGE, 1_700_000_000)
    good, said = verified(repo, tmp_path, commit)

    assert good, said
    assert 'Good "git" signature for infra@example.org' in said
    assert repo.git("log", "-1", "--format=%an <%ae>|%cn <%ce>", commit) == f"{NAME}|{NAME}"
    assert repo.git("log", "-1", "--format=%B", commit).strip() == MESSAGE.strip()
    assert repo.git("log", "-1", "--format=%(trailers:key=Infra-Request,valueonly)", commit).strip() == "req-1"
    assert repo.git("fsck", "--strict", "--no-dangling") == ""


async def test_the_same_commit_is_signed_the_same_way(signing):
    base = await signing.head("main")
    first = await signing.build_commit(base, CHANGE, MESSAGE, 1_700_000_000)

    assert await signing.build_commit(base, CHANGE, MESSAGE, 1_700_000_000) == first


async def test_a_commit_changed_after_it_was_signed_and_another_key_are_not_accepted(repo, signing, tmp_path):
    base = await signing.head("main")
    commit = await signing.build_commit(base, CHANGE, MESSAGE, 1_700_000_000)
    text = repo.git("cat-file", "commit", commit).replace("docs 2.0", "docs 3.0")
    forged = rewritten(repo, text)
    other = new_key(tmp_path / "other")

    assert not verified(repo, tmp_path, forged)[0]
    (tmp_path / "allowed").write_text(f"infra@example.org {other}\n", encoding="utf-8")
    assert not verified(repo, tmp_path, commit)[0]


def rewritten(repo, text):
    words = ["git", "-C", repo.top, "hash-object", "-t", "commit", "-w", "--stdin"]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout.strip()


async def test_without_a_key_nothing_is_signed_whatever_the_users_settings_ask_for(repo, git, key, configure):
    configure(
        f"[user]\n name = u\n email = u@x\n signingkey = {key}\n[gpg]\n format = ssh\n[commit]\n gpgSign = true\n"
    )
    commit = await git.build_commit(await git.head("main"), CHANGE, MESSAGE, 0)

    assert "gpgsig" not in repo.git("cat-file", "commit", commit)


async def test_in_a_repository_of_sha256_the_header_is_the_one_git_looks_for(new_repo, lock_file, key, tmp_path):
    repo = new_repo("--object-format=sha256", name="sha256")
    git = Git(repo.top, lock_file)
    git.committer = Committer(NAME, key)
    try:
        commit = await git.build_commit(await git.head("main"), CHANGE, MESSAGE, 0)
    finally:
        await git.aclose()

    assert verified(repo, tmp_path, commit)[0]


def spoil_mode(key):
    key.chmod(0o640)


def spoil_content(key):
    key.write_text("no key\n", encoding="utf-8")


def spoil_by_passphrase(key):
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True)


@pytest.mark.parametrize("spoil", [Path.unlink, spoil_mode, spoil_content, spoil_by_passphrase])
async def test_a_key_that_cannot_be_used_is_named_and_nobody_is_asked_for_another(
    repo, signing, key, tmp_path, monkeypatch, spoil
):
    asked = tmp_path / "asked"
    prompt = tmp_path / "askpass"
    prompt.write_text(f"#!/bin/sh\necho >>{asked}; echo secret\n", encoding="utf-8")
    prompt.chmod(0o700)
    for name, value in {"SSH_ASKPASS": str(prompt), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}.items():
        monkeypatch.setenv(name, value)
    spoil(key)
    with pytest.raises(InfraError) as caught:
        await signing.build_commit(await signing.head("main"), CHANGE, MESSAGE, 0)

    assert caught.value.code == "setup-failed"
    assert str(key) in caught.value.what
    assert not asked.exists()
    assert repo.git("rev-list", "--all", "--count") == "1"


@pytest.fixture
def agent(key, tmp_path, monkeypatch):
    """The agent of a person, who has the key without its passphrase at hand there."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with agent_with(key, tmp_path / "agent"):
        spoil_by_passphrase(key)
        yield


@pytest.mark.usefixtures("agent")
async def test_the_agent_of_a_person_signs_nothing(signing):
    with pytest.raises(InfraError, match="cannot be signed"):
        await signing.build_commit(await signing.head("main"), CHANGE, MESSAGE, 0)
