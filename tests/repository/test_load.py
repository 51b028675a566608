"""A commit's tree, read from a real repository, and not twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError
from infra_mcp.model.plan import ObjectRef
from infra_mcp.repository.load import load

pytestmark = pytest.mark.anyio


def space(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"


def ref(name: str) -> ObjectRef:
    return ObjectRef(cluster="sandbox", api_version="v1", kind="Namespace", namespace=None, name=name)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    top = tmp_path / "infra"
    (top / "apps/docs").mkdir(parents=True)
    (top / "apps/docs/ns.yaml").write_text(space("docs"), encoding="utf-8")
    (top / "apps/live.yaml").write_text(space("live"), encoding="utf-8")
    (top / "other.yaml").write_text(space("other"), encoding="utf-8")
    for args in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(top), "-c", "user.name=u", "-c", "user.email=u@x", *args], check=True)
    return top


async def test_a_tree_is_what_its_commit_says_and_later_commits_do_not_change_it(repo: Path, tmp_path: Path) -> None:
    git = Git(repo, tmp_path / "lock")
    head = await git.head("main")
    tree = await load(git, head, ["./apps/"], "sandbox")
    data = tree.write("apps/new.yaml", space("new").encode()).changed
    commit = await git.build_commit(head, data, "more\n", 1_700_000_000)
    later = await load(git, commit, ["apps"], "sandbox")
    await git.aclose()

    assert [one.path for one in tree.objects()] == ["apps/docs/ns.yaml", "apps/live.yaml"]
    assert tree.find(ref("other")) is None
    assert tree.find(ref("new")) is None
    found = later.find(ref("new"))
    assert found is not None
    assert found.path == "apps/new.yaml"
    assert later.oid("apps/live.yaml") == tree.oid("apps/live.yaml")
    assert (tree.base, later.base) == (head, commit)


async def test_what_was_read_before_is_not_read_again(files) -> None:
    git = files({"a.yaml": space("a"), "b.yaml": space("b"), "copy/b.yaml": space("b")})

    first = await load(git, "1" * 40, ["."], "sandbox")
    assert await load(git, "1" * 40, ["."], "sandbox") is first
    assert len(git.read) == 2
    git.files["a.yaml"] = space("changed").encode()
    second = await load(git, "2" * 40, ["."], "sandbox")

    assert len(git.read) == 3
    assert first.find(ref("a")) is not None
    assert second.find(ref("a")) is None
    assert second.find(ref("changed")) is not None
    with pytest.raises(InfraError, match=r"b.yaml and copy/b.yaml"):
        second.find(ref("b"))


async def test_two_clusters_do_not_share_identities(files) -> None:
    git = files({"a.yaml": space("a")})

    one, other = [await load(git, "1" * 40, ["."], name) for name in ("one", "other")]

    assert [located.ref.cluster for tree in (one, other) for located in tree.objects()] == ["one", "other"]


@pytest.mark.parametrize("root", ["../other", "/etc", "apps/../.."])
async def test_a_root_outside_the_repository_is_refused(files, root: str) -> None:
    with pytest.raises(InfraError) as caught:
        await load(files({}), "1" * 40, [root], "sandbox")
    assert caught.value.code == "policy-invalid"


async def test_a_root_that_is_not_there_yet_is_empty(files) -> None:
    tree = await load(files({"a.yaml": space("a")}), "1" * 40, ["apps"], "sandbox")

    assert list(tree.objects()) == []
    assert tree.write("apps/docs/ns.yaml", space("docs").encode()).find(ref("docs")) is not None
