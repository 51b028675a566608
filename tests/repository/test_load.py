"""A commit's tree, read from a real repository, and not twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import pytest
from limited import run_limited

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
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
    assert list((await load(git, "1" * 40, ["."], "sandbox")).objects()) == list(first.objects())
    assert len(git.read) == 2
    git.files["a.yaml"] = space("changed").encode()
    second = await load(git, "2" * 40, ["."], "sandbox")

    assert len(git.read) == 3
    assert first.find(ref("a")) is not None
    assert second.find(ref("a")) is None
    assert second.find(ref("changed")) is not None
    with pytest.raises(InfraError, match=r"b.yaml and copy/b.yaml"):
        second.find(ref("b"))


async def test_the_commit_in_which_a_kustomization_names_a_manifest_is_the_first_that_builds_it(files) -> None:
    git = files(
        {"apps/a.yaml": space("a"), "live/kustomization.yaml": "resources: [b.yaml]\n", "live/b.yaml": space("b")}
    )
    first = await load(git, "1" * 40, ["."], "sandbox")

    git.files["live/kustomization.yaml"] = b"resources: [b.yaml, ../apps/a.yaml]\n"
    second = await load(git, "2" * 40, ["."], "sandbox")
    git.files["live/kustomization.yaml"] = b"resources: [b.yaml]\npatches: [{path: ../apps/a.yaml}]\n"
    third = await load(git, "3" * 40, ["."], "sandbox")

    assert [tree.is_built(ref("a")) for tree in (first, second, third)] == [False, True, False]
    assert [len(list(tree.objects())) for tree in (first, second, third)] == [1, 0, 0]


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


@pytest.mark.fault("f31")
@pytest.mark.process
def test_as_many_objects_of_one_name_as_files_may_hold_are_loaded_in_linear_time():
    code = """
import anyio
from infra_mcp.clients.git import Entry
from infra_mcp.repository import load as module, manifest
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.render import Located

class Files:
    async def list_tree(self, commit, paths):
        return {f"k{i}.yaml": Entry("100644", str(i)) for i in range(300)}
    def read_blobs_now(self, oids, largest):
        return {oid: b"x" for oid in oids}

one = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "docs"}}
ref = ObjectRef(cluster="sandbox", api_version="v1", kind="Namespace", namespace=None, name="docs")
manifest.parse = lambda data, path, *more: [Located(path, i, one, (), ref) for i in range(500)]
tree = anyio.run(module.load, Files(), "c" * 40, ["."], "sandbox")
print(len({one.ref.key for one in tree.objects()}))
"""
    done = run_limited(code, cpu=30)

    assert done.stdout == "1\n", done.stderr[-300:]


@pytest.mark.fault("f31")
@pytest.mark.process
def test_a_commit_of_more_files_than_can_be_read_is_refused_at_once(repo: Path, tmp_path: Path) -> None:
    def git(*words: str, data: str | None = None) -> str:
        return subprocess.run(
            ["git", "-C", str(repo), "-c", "user.name=u", "-c", "user.email=u@x", *words],
            input=data, capture_output=True, text=True, encoding="utf-8", check=True,
        ).stdout.strip()  # fmt: skip

    below = git("rev-parse", "HEAD:apps")
    for _ in range(10):
        below = git("mktree", data="".join(f"040000 tree {below}\t{n}\n" for n in range(10)))
    bomb = git("commit-tree", "-m", "many", "-p", "HEAD", below)
    code = """
import sys, anyio
from pathlib import Path
from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError
from infra_mcp.repository.load import load
async def run():
    try:
        await load(Git(Path(sys.argv[1]), Path(sys.argv[2])), sys.argv[3], ["."], "sandbox")
    except InfraError as error:
        print(error.code)
anyio.run(run)
"""
    done = run_limited(code, str(repo), str(tmp_path / "lock"), bomb)

    assert done.stdout == "git-failed\n", done.stderr[-300:]


@pytest.mark.fault("f31")
async def test_a_file_that_is_too_large_is_not_even_read(repo: Path, tmp_path: Path) -> None:
    git = Git(repo, tmp_path / "lock")
    large = await git.build_commit(await git.head("main"), {"big.yaml": b"#" * (9 << 20)}, "large\n", 1_700_000_000)
    listed = await git.list_tree(large, ["."])

    tree = await load(git, large, ["."], "sandbox")
    read = git.read_blobs_now([entry.oid for entry in listed.values()], 1000)
    await git.aclose()

    assert dict(tree.broken) == {"big.yaml": "big.yaml, line 1: the file is larger than 8 MiB."}
    assert tree.read("big.yaml") == b""
    assert tree.find(ref("docs")) is not None
    assert read.keys() == {entry.oid for path, entry in listed.items() if path != "big.yaml"}


@pytest.mark.fault("f08")
async def test_a_path_that_is_not_utf8_matters_only_to_what_lies_there_and_is_named_in_plain_letters(files) -> None:
    odd = "apps/caf\udce9/web.yaml"
    git = files({odd: space("docs"), "apps/live.yaml": space("live")})

    tree = await load(git, "1" * 40, ["."], "sandbox")

    assert tree.find(ref("live")) is not None
    for act in (lambda: tree.find(ref("docs")), lambda: tree.require(ref("none"))):
        with pytest.raises(InfraError) as caught:
            act()
        assert "apps/caf\\udce9/web.yaml" in caught.value.what
        caught.value.what.encode()


@pytest.mark.parametrize(
    ("roots", "plain", "found"),
    [
        (["."], ["apps/other"], {"apps/a.yaml", "x.yaml"}),
        (["apps"], ["."], {"apps/a.yaml", "apps/other/b.yaml"}),
        (["apps/other"], ["apps", "."], {"apps/other/b.yaml"}),
        (["apps", "x.yaml"], ["apps/other"], {"apps/a.yaml", "x.yaml"}),
    ],
)
def test_the_longest_root_above_a_file_decides_whether_it_holds_objects(files, roots, plain, found):
    names = {"apps/a.yaml": "a", "apps/other/b.yaml": "b", "x.yaml": "x"}
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}, namespace: n}}\n"
    repository = files({path: text.format(name) for path, name in names.items()})
    tree = anyio.run(lambda: load(repository, "c" * 40, roots, "sandbox", plain))

    assert {path for path in names if tree.objects_of(path)} == found
    written = tree.write("apps/other/new.yaml", text.format("new").encode())
    assert bool(written.objects_of("apps/other/new.yaml")) == ("apps/other/b.yaml" in found)
