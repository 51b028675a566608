import shutil
import subprocess

import pytest

from infra_mcp.sandbox import processes
from infra_mcp.sandbox.places import Place

pytestmark = pytest.mark.anyio


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a program that waits, under the path a component of the sandbox of that name would have."""
    monkeypatch.setenv("INFRA_MCP_SANDBOX", str(tmp_path / "home"))
    begun = []

    def begin(name, program="etcd", *arguments):
        folder = Place(name).cluster / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / program).unlink(missing_ok=True)
        (folder / program).symlink_to(shutil.which("sleep"))
        return run(folder / program, "600", *arguments)

    def run(*argv):
        begun.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return begun[-1]

    begin.other = run

    yield begin
    for child in begun:
        child.kill()
        child.wait()


async def test_exactly_the_processes_of_that_sandbox_are_ended(start):
    ours = [start("infra"), start("infra", "kube-apiserver")]
    others = [start("infra2"), start("other"), start.other("sleep", "600")]
    assert {child.pid for child in processes.running(Place("infra"))} == {child.pid for child in ours}
    assert await processes.end(Place("infra")) == 2
    assert [child.wait(30) for child in ours] == [-9, -9]
    assert [child.poll() for child in others] == [None, None, None]


async def test_a_process_that_only_names_the_sandbox_in_an_argument_is_left_alone(start):
    start("infra")
    place = Place("infra")
    reader = start.other("tail", "-f", "/dev/null", place.config)
    assert reader.pid not in {child.pid for child in processes.running(place)}


async def test_a_component_that_only_prints_its_version_does_not_count_as_running(start):
    start("infra", "etcd")
    start("infra", "kube-apiserver", "--version")
    assert processes.components(Place("infra")) == {"etcd"}


async def test_a_stale_pid_file_ends_no_process(start):
    place = Place("infra")
    bystander = start("other")
    (place.cluster / "pids").mkdir(parents=True)
    (place.cluster / "pids" / "etcd.pid").write_text(str(bystander.pid))
    assert await processes.end(place) == 0
    assert bystander.poll() is None
