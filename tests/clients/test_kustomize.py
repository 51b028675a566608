"""The renderer as a child: which one, what it may see, and how it ends."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import textwrap

import anyio
import pytest

from infra_mcp.clients import kustomize
from infra_mcp.clients.kustomize import Renderer, build, find_renderer
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio

FILES = {
    "base/kustomization.yaml": b"resources: [web.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=1]}]\n",
    "base/web.yaml": b"apiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
    "app/kustomization.yaml": b"resources: [../base]\nnamePrefix: my-\n",
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where the private folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(kustomize.tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def script(tmp_path):
    """Makes a renderer of Python code; `{out}` in it is a file to write to."""

    def make(code: str, name: str = "kustomize") -> Renderer:
        path = tmp_path / name
        text = textwrap.dedent(code).replace("{out}", str(tmp_path / "out"))
        path.write_text(f"#!{sys.executable}\nimport json, os, sys, time, subprocess\n{text}", encoding="utf-8")
        path.chmod(0o755)
        return Renderer(str(path), ("build",), "kustomize v0.0.0")

    return make


async def test_a_folder_is_built_from_exactly_these_files_and_nothing_is_left(kubectl, places):
    built = await build(FILES, "app", renderer=await find_renderer(kubectl))

    assert b"name: my-web\n" in built.data
    assert b"name: my-settings-" in built.data
    assert list(places.iterdir()) == []


@pytest.mark.trap("K8")
async def test_the_renderer_is_named_with_its_version_and_asked_once(kubectl, script, monkeypatch):
    found = await find_renderer(kubectl)
    assert kustomize.re.fullmatch(r"kubectl v1\.\d+\.\S+ \(kustomize v\d+\.\d+\.\d+\S*\)", found.name)
    assert (await build(FILES, "app", renderer=found)).renderer == found.name
    answers = {
        "print('v5.8.1')": "kustomize v5.8.1",
        "print('{Version:kustomize/v4.5.7 GitCommit:abc BuildDate:2022}')": "kustomize v4.5.7",
    }
    for number, (code, name) in enumerate(answers.items()):
        count = "open('{out}', 'a').write('.')\nif '--client' in sys.argv: sys.exit(1)\n"
        path = script(count + code, f"kustomize{number}").path
        assert {(await find_renderer(path)).name for _ in range(3)} == {name}
    out = script("", "x").path.removesuffix("x") + "out"
    assert len(await anyio.Path(out).read_text(encoding="utf-8")) == 2 * 2
    # another version at the same place is another renderer
    changed = script("if '--client' in sys.argv: sys.exit(1)\nprint('v5.9.0')", "kustomize0").path
    os.utime(changed, ns=(1, 1))
    assert (await find_renderer(changed)).name == "kustomize v5.9.0"
    monkeypatch.setenv("INFRA_MCP_KUSTOMIZE", changed)
    assert (await find_renderer()).path == changed


async def test_without_a_setting_kustomize_is_taken_before_kubectl(script, tmp_path, monkeypatch):
    monkeypatch.delenv("INFRA_MCP_KUSTOMIZE", raising=False)
    monkeypatch.setenv("INFRA_MCP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraError, match="No kustomize and no kubectl is on PATH") as caught:
        await find_renderer()
    assert caught.value.code == "setup-failed"
    assert "INFRA_MCP_KUSTOMIZE" in caught.value.next_step
    known = {"clientVersion": {"gitVersion": "v1.31.0"}, "kustomizeVersion": "v5.4.2"}
    script(f"print(json.dumps({known}))", "kubectl")
    assert await find_renderer() == Renderer(
        str(tmp_path / "kubectl"), ("kustomize",), "kubectl v1.31.0 (kustomize v5.4.2)"
    )
    script("if '--client' in sys.argv: sys.exit(1)\nprint('v5.8.1')")
    assert (await find_renderer()).name == "kustomize v5.8.1"
    for given in ("no-such-program", script("print('hello')", "other").path):
        with pytest.raises(InfraError) as caught:
            await find_renderer(given)
        assert caught.value.code == "setup-failed"


@pytest.mark.trap("K7")
@pytest.mark.promise("tree.kustomize")
async def test_the_child_has_no_credentials_programs_proxies_or_input_and_no_plugin_is_switched_on(
    script, places, monkeypatch
):
    for name in ("KUBECONFIG", "HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "GIT_SSH_COMMAND", "INFRA_MCP_TOKEN", "GODEBUG"):
        monkeypatch.setenv(name, "/from/outside")
    renderer = script(
        """
        top = os.path.dirname(sys.argv[-1])
        about = {"env": dict(os.environ), "argv": sys.argv[1:], "stdin": sys.stdin.read(), "cwd": os.getcwd()}
        about["mode"] = os.stat(os.path.dirname(top)).st_mode
        about["files"] = sorted(os.path.join(at, name) for at, _, names in os.walk(top) for name in names)
        about["home"] = os.listdir(os.environ["HOME"])
        about["group"] = os.getpgid(0) == os.getpid()
        open("{out}", "w").write(json.dumps(about))
        """
    )
    await build(FILES, "app", restrict="none", renderer=renderer)

    said = kustomize.json.loads(await anyio.Path(renderer.path).with_name("out").read_text(encoding="utf-8"))
    assert said["argv"][:-1] == ["build", "--load-restrictor", "LoadRestrictionsNone", "--"]
    top = said["argv"][-1].removesuffix("/app")
    assert said["files"] == sorted(f"{top}/{path}" for path in FILES)
    assert top.startswith(f"{places}/")
    assert stat.S_IMODE(said["mode"]) == 0o700
    assert (said["home"], said["stdin"], said["group"]) == ([], "", True)
    env = said["env"]
    assert "/from/outside" not in str(env)
    assert env["PATH"] == ""
    assert env["HTTPS_PROXY"] == env["http_proxy"] == "http://127.0.0.1:9"
    assert env["HOME"].startswith(os.path.dirname(top))  # noqa: PTH120 - as text
    assert env["KUBECONFIG"] == env["GIT_CONFIG_GLOBAL"] == "/dev/null"


@pytest.mark.trap("K1")
async def test_a_remote_base_that_was_missed_is_not_fetched(kubectl):
    for url in ("https://example.org/team/repo", "git@example.org:team/repo.git"):
        files = {"app/kustomization.yaml": f"resources: ['{url}']\n".encode()}
        with pytest.raises(InfraError, match="app cannot be built") as caught:
            await build(files, "app", renderer=await find_renderer(kubectl))
        assert "no 'git' program on path" in caught.value.what


async def test_a_failed_build_names_root_renderer_and_reason_without_our_folder(kubectl, places):
    files = FILES | {"app/kustomization.yaml": b"resources: [../base, gone.yaml]\ncommonLabels: {a: b}\n"}
    renderer = await find_renderer(kubectl)

    with pytest.raises(InfraError) as caught:
        await build(files, "app", renderer=renderer, mask=lambda text: text.replace("gone", "***"))

    what = caught.value.what
    assert caught.value.code == "build-failed"
    assert what.startswith(f"app cannot be built. {renderer.name}: accumulating resources: ")
    assert "app/***.yaml" in what
    assert "gone" not in what
    assert str(places) not in what
    assert "infra-mcp-build" not in what
    assert "Warning" not in what
    assert list(places.iterdir()) == []


async def test_reasons_are_one_line_bounded_and_without_configurations_times_and_process_ids(script):
    cases = {
        "Error: a\n\tb `\npassword: x\n` c": "a b … c",
        "Error: line [75 69 89 61 103] is bad [1]": "line … is bad [1]",
        'E1130 02:06:22.215256   14536 run.go:72] "command failed" err="it \\"failed\\" so"': 'it "failed" so',
        "# Warning: 'bases' is deprecated. Please use\nError: so": "so",
        "": "it gives no reason.",
        "x" * 5000: "x" * 599 + "…",
    }
    for text, why in cases.items():
        with pytest.raises(InfraError) as caught:
            await build(FILES, "app", renderer=script(f"sys.stderr.write({text!r}); sys.exit(1)"))
        assert caught.value.what == f"app cannot be built. kustomize v0.0.0: {why}"


@pytest.mark.promise("tree.kustomize")
async def test_time_and_output_are_bounded_and_the_whole_group_ends(script, places, monkeypatch):
    monkeypatch.setattr(kustomize, "BUILD_SECONDS", 1.0)
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    slow = script(child + "open('{out}', 'w').write(str(child.pid))\ntime.sleep(600)")
    with pytest.raises(InfraError, match="The build of app did not end within 1 s and was stopped"):
        await build(FILES, "app", renderer=slow)
    pid = int(await anyio.Path(slow.path).with_name("out").read_text(encoding="utf-8"))
    with anyio.fail_after(30):
        while _runs(pid):  # noqa: ASYNC110 - it is not our child
            await anyio.sleep(0.01)
    monkeypatch.setattr(kustomize, "BUILD_SECONDS", 60.0)
    monkeypatch.setattr(kustomize, "MAX_OUTPUT", 100_000)
    for stream in ("stdout", "stderr"):
        with pytest.raises(InfraError, match="printed too much and was stopped"):
            await build(FILES, "app", renderer=script(f"while True: sys.{stream}.write('x' * 65536)"))
    assert list(places.iterdir()) == []


def _runs(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


@pytest.mark.promise("tree.kustomize")
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="This system sets no limits from outside.")
async def test_memory_is_bounded_from_outside(script):
    # It waits for its input, which is empty, so that the limit is there first.
    wait = "time.sleep(0.5)\nimport resource\nprint(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    built = await build(FILES, "app", renderer=script(wait))
    assert int(built.data) == kustomize.MAX_MEMORY


async def test_a_cancelled_build_ends_its_child_and_removes_its_folder(script, places):
    slow = script("open('{out}', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    out = anyio.Path(slow.path).with_name("out")
    async with anyio.create_task_group() as group:

        async def run():
            await build(FILES, "app", renderer=slow)

        group.start_soon(run)
        with anyio.fail_after(20):
            while not await out.exists() or not await out.read_bytes():  # noqa: ASYNC110 - it is another process
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(await out.read_text(encoding="utf-8")), 0)
    assert list(places.iterdir()) == []


@pytest.mark.trap("K6")
async def test_no_path_or_link_is_written_outside_the_folder(script, tmp_path):
    renderer = script("open('{out}', 'w').write('started')")
    for files, links in (
        ({"../x": b""}, {}),
        ({"/etc/x": b""}, {}),
        ({"a//b": b""}, {}),
        ({"a/../../x": b""}, {}),
        ({"a/x": b""}, {"a/out": "/etc"}),
        ({"a/x": b""}, {"a/out": "../../.."}),
        ({"a/x": b""}, {"out": "a/../..", "out/deep/x": "y"}),
        ({"a/x": b""}, {"../out": "x"}),
    ):
        with pytest.raises(InfraError, match="leads out of the tree") as caught:
            await build(files, "a", links=links, renderer=renderer)
        assert caught.value.code == "build-refused"
    with pytest.raises(InfraError, match="cannot be written"):
        await build({"a": b"", "a/b": b""}, "a", renderer=renderer)
    with pytest.raises(InfraError, match="a name is no path"):
        await build({"a\0b": b""}, "a", renderer=renderer)
    assert not (tmp_path / "out").exists()


async def test_links_inside_the_tree_are_links_for_the_renderer(kubectl):
    files = {
        "real/kustomization.yaml": b"resources: [../beside/web.yaml]\n",
        "beside/web.yaml": FILES["base/web.yaml"],
        "app/kustomization.yaml": b"resources: [base]\nnamePrefix: my-\n",
    }
    renderer = await find_renderer(kubectl)
    built = await build(files, "app", links={"app/base": "../real"}, restrict="none", renderer=renderer)
    assert b"name: my-web" in built.data
    with pytest.raises(InfraError, match="security; file"):
        await build(files, "app", links={"app/base": "../real"}, renderer=renderer)


async def test_a_renderer_that_cannot_be_started_is_a_setup_error(tmp_path):
    broken = tmp_path / "kustomize"
    broken.write_text("not a program", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(InfraError, match="cannot be started") as caught:
        await build(FILES, "app", renderer=Renderer(str(broken), (), "kustomize v1"))
    assert caught.value.code == "setup-failed"
