"""The server's clone: without old files where the remote allows it, one fetch for a plan, and bounded on the disk."""

import os
import resource
import subprocess
from contextlib import aclosing, asynccontextmanager

import pytest
from ssh_server import SshServer

from infra_mcp.clients.git import Login, Remote, Upstream, clone
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.remote-race")]

WEB = "apps/docs/web.yaml"


@pytest.fixture
def origin(repo, tmp_path):
    """A bare repository that answers for parts, and whose files have a history."""
    for number in range(4):
        repo.commit({WEB: f"image: site:1.{number}\n", "apps/live/web.yaml": f"image: site:1.{number}-live\n"})
    top = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", repo.top, top], check=True)
    repo.git("remote", "add", "origin", str(top))
    made = type(repo)(top)
    made.git("config", "uploadpack.allowFilter", "true")
    return made


@pytest.fixture
def fetches(monkeypatch):
    """The arguments of each git that asks the remote, those that git starts itself among them."""
    seen = []
    start = subprocess.Popen

    def recorded(argv, **how):
        words = list(map(os.fspath, argv))
        seen.extend([words] if "fetch" in words else [])
        return start(argv, **how)

    monkeypatch.setattr(subprocess, "Popen", recorded)
    return seen


@asynccontextmanager
async def upstream(tmp_path, url, login=None, **how):
    home = tmp_path / "clones"
    async with aclosing(Upstream(home / "a.git", home / "a.lock", Remote(str(url), login or Login()), **how)) as made:
        yield made


async def read(it, commit):
    listed = await it.list_tree(commit, ["."])
    content = it.read_blobs_now([entry.oid for entry in listed.values()])
    return {path: content[entry.oid].decode() for path, entry in listed.items()}


def held(tmp_path, path, commit):
    """Whether the clone itself has a file."""
    at = ["git", "-C", tmp_path / "clones" / "a.git"]
    return subprocess.run([*at, "cat-file", "-e", f"{commit}:{path}"], capture_output=True, check=False).returncode == 0


async def test_a_new_clone_has_the_whole_history_and_the_files_of_its_head_only(origin, tmp_path, fetches):
    async with upstream(tmp_path, origin.top) as it:
        head = await it.latest("main")
        assert len(fetches) == 2
        assert (await read(it, head))[WEB] == "image: site:1.3\n"
        assert len(await it.log_trailers("main", 10)) == 5
        assert await it.contains("main", origin.git("rev-parse", "main~4"))

    assert held(tmp_path, WEB, "main")
    assert not held(tmp_path, WEB, "main~1")


async def test_each_later_plan_takes_one_fetch_and_reads_nothing_from_the_remote(repo, origin, tmp_path, fetches):
    async with upstream(tmp_path, origin.top) as it:
        await it.latest("main")
    async with upstream(tmp_path, origin.top) as it:  # the server starts again
        for number in range(3):
            repo.commit({WEB: f"image: site:2.{number}\n", "new/a.yaml": f"a: {number}\n"})
            repo.git("push", "-q", "origin", "main")
            fetches.clear()
            base = await it.latest("main")
            assert (await read(it, base))[WEB] == f"image: site:2.{number}\n"
            commit = await it.build_commit(base, {"apps/docs/db.yaml": b"image: db:%d\n" % number}, "Ours\n", 0)
            await it.move("main", commit, base)
            assert len(fetches) == 1
            repo.git("pull", "-q", "--rebase", "origin", "main")

    assert origin.git("rev-list", "--count", "main") == "11"


async def test_a_file_that_came_back_from_the_history_is_fetched_with_the_head(repo, origin, tmp_path, fetches):
    """A remote with bitmaps does not send what the history of our head has, though we have no file of it."""
    origin.git("repack", "-adbq")
    async with upstream(tmp_path, origin.top) as it:
        await it.latest("main")
        repo.commit({WEB: "image: site:1.0\n"}, "back to 1.0")
        repo.git("push", "-q", "origin", "main")
        head = await it.latest("main")
        fetches.clear()
        assert (await read(it, head))[WEB] == "image: site:1.0\n"
        assert await it.build_commit(head, {"apps/docs/db.yaml": b"image: db:2\n"}, "Ours\n", 0)

    assert fetches == []


async def test_files_of_an_older_commit_are_fetched_together(origin, tmp_path, fetches):
    async with upstream(tmp_path, origin.top) as it:
        await it.latest("main")
        old = (await it.commit("main~2"), await it.commit("main~3"))
        fetches.clear()
        first, second = await read(it, old[0]), await read(it, old[1])

    assert (first[WEB], second[WEB]) == ("image: site:1.1\n", "image: site:1.0\n")
    assert len(fetches) == 2


async def test_a_remote_that_knows_no_parts_gives_everything_with_one_fetch(origin, tmp_path, fetches):
    origin.git("config", "uploadpack.allowFilter", "false")
    async with upstream(tmp_path, origin.top) as it:
        head = await it.latest("main")
        assert (await read(it, head))[WEB] == "image: site:1.3\n"

    assert len(fetches) == 1
    assert held(tmp_path, WEB, "main~1")


async def test_gitea_gives_a_clone_without_old_files(gitea, tmp_path, fetches):
    bot = gitea.account("bot")
    repository = gitea.repository(gitea.account("owner"), **{bot.name: "write"})
    for version in ("1.0", "1.1", "1.2"):
        repository.commit({WEB: f"image: site:{version}\n"})
    async with upstream(tmp_path, repository.url, Login(gitea.token_file(bot))) as it:
        base = await it.latest("main")
        assert (await read(it, base))[WEB] == "image: site:1.2\n"
        assert len(fetches) == 2
        assert not held(tmp_path, WEB, "main~1")
        assert (await read(it, await it.commit("main~1")))[WEB] == "image: site:1.1\n"
        commit = await it.build_commit(base, {WEB: b"image: site:2.0\n"}, "Ours\n", 0)
        await it.move("main", commit, base)

    assert repository.head() == commit
    assert len(fetches) == 3


async def test_a_remote_of_the_old_protocol_that_gives_no_single_files_gives_everything(origin, tmp_path):
    """Plain sshd passes no GIT_PROTOCOL on."""
    with SshServer(tmp_path / "sshd").up() as ssh:
        login = Login(key_file=ssh.key_file, known_hosts=ssh.known_hosts())
        async with upstream(tmp_path, ssh.url(origin.top), login) as it:
            head = await it.latest("main")
            assert (await read(it, head))[WEB] == "image: site:1.3\n"

    assert held(tmp_path, WEB, "main~1")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="This system sets no limits from outside.")
async def test_a_remote_that_sends_too_much_is_stopped_and_leaves_nothing_on_the_disk(repo, origin, tmp_path):
    most = 1 << 20
    async with upstream(tmp_path, origin.top, most=most) as it:
        before = await it.latest("main")
        (repo.top / "disk.img").write_bytes(os.urandom(4 * most))
        repo.git("add", "disk.img")
        repo.git("commit", "-q", "-m", "a mistake")
        repo.git("push", "-q", "origin", "main")
        for _ in range(3):
            with pytest.raises(InfraError, match="would take more than 1 MiB of the disk") as caught:
                await it.latest("main")
        assert "clone_mib" in caught.value.next_step
        assert await it.head("main") == before
        assert sum(p.stat().st_size for p in (tmp_path / "clones").rglob("*") if p.is_file()) < most
        repo.git("push", "-q", "--force", "origin", f"{before}:main")
        assert await it.latest("main") == before

    async with upstream(tmp_path, origin.top, most=8 * most) as it:
        repo.git("push", "-q", "origin", "main")
        assert await it.latest("main") == repo.head()


async def test_the_clones_packs_are_put_together_from_time_to_time(repo, origin, tmp_path, monkeypatch):
    monkeypatch.setitem(clone._TIDY, "gc.autoPackLimit", "3")
    async with upstream(tmp_path, origin.top) as it:
        for number in range(12):
            repo.commit({WEB: f"image: site:3.{number}\n"})
            repo.git("push", "-q", "origin", "main")
            head = await it.latest("main")
            assert (await read(it, head))[WEB] == f"image: site:3.{number}\n"

    assert len(list((tmp_path / "clones").rglob("*.pack"))) < 8
