"""kustomize's own binary, built from its Go module, and kubectl render the same objects from the same files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from repository.kustomize_tree import TREE

from infra_mcp import binaries
from infra_mcp.binaries.gomodule import find_go, go_environment, required
from infra_mcp.binaries.progress import Progress
from infra_mcp.clients.kustomize import build, find_renderer
from infra_mcp.errors import InfraError
from infra_mcp.repository.builds import Builds, View
from infra_mcp.settings import cache_home

pytestmark = [pytest.mark.outside, pytest.mark.anyio, pytest.mark.timeout(600)]

MODULE = Path(binaries.__file__).parent / "gomod" / "sandbox"


@pytest.fixture(scope="module")
def kustomize(tmp_path_factory):
    """The kustomize of the version that is inside the sandbox's kubectl."""
    folder = tmp_path_factory.mktemp("kustomize")
    version = required("sandbox", "sigs.k8s.io/kustomize/kustomize/v5")
    try:
        go = anyio.run(find_go, MODULE, cache_home(), Progress(sys.stderr))
    except InfraError as error:
        pytest.skip(f"no Go to build kustomize with: {error.what}")
    argv = [go, "install", f"sigs.k8s.io/kustomize/kustomize/v5@v{version}"]
    env = go_environment() | {"GOBIN": str(folder)}
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=580)
    if done.returncode:
        pytest.skip(f"the module of kustomize cannot be had: {done.stderr.strip()[-300:]}")
    return folder / "kustomize"


@pytest.mark.trap("K8")
async def test_both_renderers_give_the_same_objects_and_each_says_its_name(kubectl, kustomize):
    view = View(TREE.get, TREE.keys())
    by_kubectl, by_kustomize = [await Builds(renderer=str(one)).render(view, "app") for one in (kubectl, kustomize)]

    assert re.fullmatch(r"kubectl v\S+ \(kustomize v5\.\S+\)", by_kubectl.renderer)
    assert re.fullmatch(r"kustomize v5\.\S+", by_kustomize.renderer)
    assert {one.ref.key: one.object for one in by_kubectl.objects} == {
        one.ref.key: one.object for one in by_kustomize.objects
    }
    assert len(by_kubectl.objects) == len(by_kustomize.objects) == 11


@pytest.mark.trap("K7")
async def test_both_refuse_what_names_a_plugin_if_it_came_so_far(kubectl, kustomize):
    function = (
        "apiVersion: example.org/v1\nkind: Fn\nmetadata:\n  name: x\n  annotations:\n"
        "    config.kubernetes.io/function: 'exec: {path: ./fn.sh}'\n"
    )
    files = {"app/kustomization.yaml": b"transformers: [fn.yaml]\n", "app/fn.yaml": function.encode()}
    for one in (kubectl, kustomize):
        with pytest.raises(InfraError, match="external plugins disabled") as caught:
            await build(files, "app", renderer=await find_renderer(str(one)))
        assert caught.value.code == "build-failed"
