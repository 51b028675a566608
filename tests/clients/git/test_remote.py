"""The branch at a remote: fetched into a clone of the server's own, and moved only by a push that states its base."""

import base64
import os
import subprocess
from contextlib import aclosing

import pytest
from git_server import GitServer

from infra_mcp.clients.git import Login, Remote, Upstream, remote_of
from infra_mcp.errors import InfraError, Moved, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.remote-race")]

CHANGE = {"apps/docs/web.yaml": b"image: site:2.0\nreplicas: 2\n"}


@pytest.fixture
def origin(repo, tmp_path):
    """A bare repository that the user's checkout pushes to."""
    top = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", repo.top, top], check=True)
    repo.git("remote", "add", "origin", str(top))
    return type(repo)(top)


@pytest.fixture
async def upstream(repo, origin, tmp_path):  # noqa: ARG001 - `origin` is its remote
    remote = remote_of(repo.top, "origin", Login())
    async with aclosing(Upstream(tmp_path / "clones" / "a.git", tmp_path / "clones" / "a.lock", remote)) as made:
        yield made


def hook(origin, text):
    path = origin.top / "hooks" / "pre-receive"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o700)


async def ours(upstream, changes=None):
    base = await upstream.latest("main")
    return base, await upstream.build_commit(base, changes or CHANGE, "Deploy docs 2.0\n", 0)


async def test_a_commit_is_pushed_and_nothing_of_the_checkout_moves(repo, origin, upstream):
    before, refs = repo.state(), (repo.git("for-each-ref"), repo.git("reflog", "--all"))
    base, commit = await ours(upstream)
    await upstream.move("main", commit, base)
    await upstream.move("main", commit, base)  # it is there already

    assert origin.head() == commit == await upstream.head("main") == await upstream.latest("main")
    assert await upstream.contains("main", commit)
    assert (repo.state(), (repo.git("for-each-ref"), repo.git("reflog", "--all"))) == (before, refs)


async def test_a_push_that_lost_a_race_is_planned_again_and_the_others_commit_stays(repo, origin, upstream):
    base, commit = await ours(upstream)
    theirs = repo.commit({"README.md": "theirs\n"})
    repo.git("push", "-q", "origin", "main")
    with pytest.raises(Moved):
        await upstream.move("main", commit, base)

    assert origin.head() == theirs == await upstream.head("main")
    base, commit = await ours(upstream)
    await upstream.move("main", commit, base)
    assert origin.git("rev-parse", f"{commit}^") == theirs


async def test_what_was_taken_back_at_the_remote_does_not_come_back_with_a_push(repo, origin, upstream):
    former = origin.head()
    secret = repo.commit({"README.md": "a mistake\n"})
    repo.git("push", "-q", "origin", "main")
    base, commit = await ours(upstream)
    repo.git("push", "-q", "--force", "origin", f"{former}:refs/heads/main")
    with pytest.raises(Moved):
        await upstream.move("main", commit, base)

    assert origin.head() == former
    assert await upstream.latest("main") == former
    assert not await upstream.contains("main", secret)


async def test_a_hook_that_refuses_ends_it_with_the_remotes_words(origin, upstream):
    hook(origin, "echo 'GH006: Changes must be made through a pull request.' >&2; exit 1")
    base, commit = await ours(upstream)
    with pytest.raises(InfraError) as caught:
        await upstream.move("main", commit, base)

    assert caught.value.code == "push-refused"
    assert "pre-receive hook declined" in caught.value.what
    assert "Changes must be made through a pull request." in caught.value.what
    assert origin.head() == base == await upstream.head("main")


async def test_a_push_whose_answer_was_lost_is_found_at_the_remote(origin, upstream, tmp_path):
    base, commit = await ours(upstream)
    # As a killed server left it:
    origin.git("fetch", "-q", str(tmp_path / "clones" / "a.git"), f"{commit}:refs/heads/main")

    assert await upstream.head("main") == base
    assert await upstream.contains("main", commit)
    await upstream.move("main", commit, base)
    assert origin.head() == commit


async def test_a_remote_that_is_away_is_told_from_one_that_refuses(tmp_path):
    away = Upstream(tmp_path / "a.git", tmp_path / "a.lock", Remote("http://user:hunter2-x@127.0.0.1:1/infra.git"))
    with pytest.raises(Unavailable) as caught:
        await away.latest("main")
    assert caught.value.code == "remote-unreachable"
    assert "http://127.0.0.1:1/infra.git does not answer" in caught.value.what
    assert "hunter2" not in str(caught.value.as_dict())


async def test_a_branch_that_the_remote_lacks_is_named(upstream):
    with pytest.raises(InfraError, match=r"has no branch release"):
        await upstream.latest("release")


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [("t0ken", 0o644, "others may read it"), ("two words", 0o600, "one token"), ("", 0o600, "one token")],
)
async def test_a_token_file_that_others_may_read_or_that_holds_no_token_is_refused(tmp_path, text, mode, why):
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    with pytest.raises(InfraError, match=why) as caught:
        Remote("https://git.example/infra.git", Login(token_file=file)).config()
    assert caught.value.code == "setup-failed"


def test_a_checkout_without_that_remote_says_how_to_add_it(repo):
    with pytest.raises(InfraError, match='no remote "upstream"') as caught:
        remote_of(repo.top, "upstream", Login())
    assert "git remote add upstream URL" in caught.value.next_step


async def test_no_address_and_no_token_is_an_argument_of_git(monkeypatch, tmp_path):
    """Every argument list of the children is recorded; the remote is away."""
    file = tmp_path / "token"
    file.write_text("s3cr3t-token-9", encoding="utf-8")
    file.chmod(0o600)
    seen = []
    start = subprocess.Popen

    def recorded(argv, **how):
        seen.append(list(map(os.fspath, argv)))
        return start(argv, **how)

    monkeypatch.setattr(subprocess, "Popen", recorded)
    login = Login(token_file=file)
    away = Upstream(tmp_path / "a.git", tmp_path / "a.lock", Remote("http://a:pass-word@127.0.0.1:1/x.git", login))
    with pytest.raises(Unavailable):
        await away.latest("main")

    words = " ".join(word for argv in seen for word in argv)
    assert "fetch" in words
    assert not any(text in words for text in ("s3cr3t", "pass-word", "127.0.0.1"))
    kept = "".join(p.read_text("utf-8", "replace") for p in (tmp_path / "a.git").rglob("*") if p.is_file())
    assert not any(text in kept for text in ("s3cr3t", "pass-word"))


@pytest.fixture
def token(tmp_path):
    """A file with the server's token."""
    file = tmp_path / "token"
    file.write_text("s3cr3t-token-9\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.fixture
def environments(monkeypatch):
    """The arguments and the environment of each child."""
    seen = []
    start = subprocess.Popen

    def recorded(argv, **how):
        seen.append((list(map(os.fspath, argv)), how.get("env") or dict(os.environ)))
        return start(argv, **how)

    monkeypatch.setattr(subprocess, "Popen", recorded)
    return seen


async def test_a_token_from_a_file_logs_in_over_http_and_is_in_nothing_but_the_children_that_ask_the_remote(
    origin, tmp_path, token, environments, caplog
):
    caplog.set_level("DEBUG")
    server = GitServer(tmp_path, token="s3cr3t-token-9")
    origin.git("config", "http.receivepack", "true")
    with server.up() as url:
        home = tmp_path / "clones"
        async with aclosing(Upstream(home / "a.git", home / "a.lock", Remote(f"{url}/origin.git", Login(token)))) as it:
            base, commit = await ours(it)
            await it.move("main", commit, base)
            assert await it.latest("main") == commit

    written = base64.b64encode(b"infra-mcp:s3cr3t-token-9").decode()
    given = {argv[3] for argv, env in environments if written in str(env) and argv[0] == "git"}
    assert set(server.seen) == {"s3cr3t-token-9"}
    assert given == {"fetch", "push"}
    for form in ("s3cr3t", written):
        assert not any(form in word for argv, _ in environments for word in argv)
        assert form not in caplog.text
        assert not any(form.encode() in p.read_bytes() for p in home.rglob("*") if p.is_file())


@pytest.mark.usefixtures("origin")
@pytest.mark.parametrize("ours", [True, False])
async def test_no_login_of_a_person_is_used_from_helpers_askpass_programs_headers_or_netrc(
    tmp_path, monkeypatch, token, ours
):
    """All are set as a person has them, for all hosts and for this one; the server asks for a password of theirs."""
    asked = tmp_path / "asked"
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\necho >>{asked}; echo password=theirs; echo username=them\n", encoding="utf-8")
    helper.chmod(0o700)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login them password theirs\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.setenv("GIT_ASKPASS", str(helper))
    monkeypatch.setenv("SSH_ASKPASS", str(helper))
    server = GitServer(tmp_path, token="theirs")
    with server.up() as url:
        header = f"extraHeader = Authorization: Basic {base64.b64encode(b'them:theirs').decode()}"
        config = f'[credential]\n helper = {helper}\n[credential "{url}"]\n helper = {helper}\n'
        config += f'[core]\n askPass = {helper}\n[http]\n {header}\n[http "{url}/origin.git"]\n {header}\n'
        (tmp_path / ".gitconfig").write_text(config, encoding="utf-8")
        home, login = tmp_path / "clones", Login(token if ours else None)
        async with aclosing(Upstream(home / "a.git", home / "a.lock", Remote(f"{url}/origin.git", login))) as it:
            with pytest.raises(InfraError) as caught:
                await it.latest("main")

    assert caught.value.code == "git-failed"
    assert ("[forge]" if not ours else str(token)) in caught.value.next_step
    assert not asked.exists()
    assert set(server.seen) == ({"s3cr3t-token-9"} if ours else set())
