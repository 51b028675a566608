"""What all tests share: one control plane for all workers, marks that are true, skips that are failures."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import hypothesis
import pytest

from infra_mcp import sandbox
from infra_mcp.sandbox.binaries import cached, ensure, find_given
from infra_mcp.settings import cache_home, sandbox_home

pytest_plugins = ["drivers.checks", "gitea"]
T = TypeVar("T")

STRICT = os.environ.get("CI") == "true" or bool(os.environ.get("INFRA_MCP_CI"))
# as they were at the start: some tests give sandboxes another place, and the session's must not follow
PLACES = {"INFRA_MCP_SANDBOX": str(sandbox_home()), "INFRA_MCP_CACHE": str(cache_home())}
OURS = "test-"  # a sandbox of tests is called so, and then the process id of its pytest
hypothesis.settings.register_profile("here", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("here")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, and then all its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class ControlPlane:
    """A real control plane.

    Args:
        kubeconfig: of its administrator.
        context: the context in it.
        kubectl: a kubectl of its version.
    """

    kubeconfig: Path
    context: str
    kubectl: Path


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop the product runs on."""
    return "asyncio"


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """As pytest's own, with a short name: there are sockets in it, and a socket's path has at most 107 bytes."""
    return tmp_path_factory.mktemp(re.sub(r"\W", "_", request.node.name.removeprefix("test_"))[:8])


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> ControlPlane:
    """The control plane of all workers, started when the first test wants it; `pytest_unconfigure` takes it down.

    INFRA_MCP_TEST_KUBECONFIG and INFRA_MCP_TEST_CONTEXT name one that is up already; that one is left as it is.
    """
    named = os.environ.get("INFRA_MCP_TEST_KUBECONFIG")
    if named:
        kubectl = Path(os.environ.get("INFRA_MCP_TEST_KUBECTL") or (cached() or Path()) / "kubectl")
        return ControlPlane(Path(named), os.environ["INFRA_MCP_TEST_CONTEXT"], kubectl)
    request.getfixturevalue("binaries")
    _in_place(_remove_leftovers)
    made = _in_place(sandbox.up, _sandbox(request.config))  # one worker starts it; the others wait, and find it up
    return ControlPlane(Path(made.kubeconfig), made.context, Path(made.kubectl))


def _sandbox(config: pytest.Config) -> str:
    return OURS + str(getattr(config, "workerinput", {}).get("controller", os.getpid()))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist whose it is."""
    node.workerinput["controller"] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the control plane down, where there is one and no worker needs it any more."""
    if not hasattr(config, "workerinput"):
        _in_place(sandbox.down, _sandbox(config))


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of the control plane's binaries; getting them would outlast any test, so they must be here.

    Fails, and does not skip, where they are not.
    """
    found = anyio.run(find_given)
    if _in_place(_cached) is None and isinstance(found, str):
        pytest.fail(f"The control plane's binaries are {found}. Get them once: make binaries", pytrace=False)
    return _in_place(ensure, sandbox.Progress())


@pytest.fixture(scope="session")
def kubectl() -> str:
    """A kubectl, which renders kustomizations; no cluster is needed for that."""
    folder = _in_place(_cached)
    named = os.environ.get("INFRA_MCP_TEST_KUBECTL") or (folder and str(folder / "kubectl")) or shutil.which("kubectl")
    if not named:
        pytest.skip("There is no kubectl to render with. Get one once: make binaries")
    return named


def _in_place(work: Callable[..., Awaitable[T]], *arguments: object) -> T:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PLACES.items():
            patch.setenv(name, value)
        return anyio.run(work, *arguments)


async def _cached() -> Path | None:
    return cached()


async def _remove_leftovers() -> None:
    """Remove the sandboxes of test sessions that were killed."""
    for one in await sandbox.status():
        pid = one.name.removeprefix(OURS)
        if one.name.startswith(OURS) and pid.isdigit() and not _lives(int(pid)):
            await sandbox.down(one.name)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Where every test must run, a skipped one failed."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where every test must run: {report.longrepr}"
    # a worker cannot send what is no text, and some tests log such
    report.sections = [(name, _encodable(text)) for name, text in report.sections]
    if report.longrepr is not None and (told := str(report.longrepr)) != _encodable(told):
        report.longrepr = _encodable(told)
    return report


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """The same for a module that skips itself."""
    report = yield
    if STRICT and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, where every test must run: {report.longrepr}"
    return report


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses the control plane, or the forge, is marked so, whoever wrote it."""
    for item in items:
        if {"control_plane", "binaries"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if "gitea" in getattr(item, "fixturenames", ()):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """A test that starts the product as a process of its own fails unless its marks say so."""
    _unmarked[:] = [item.nodeid] if not any(map(item.get_closest_marker, ("process", "cluster", "outside"))) else []
    try:
        return (yield)
    finally:
        _unmarked.clear()


_unmarked: list[str] = []  # the test that runs now, where it may start no process of the product
_PRODUCT = re.compile(r"\binfra_mcp\b(?!/)")  # in `-m infra_mcp.cli.main`, or in code after `-c`; not a folder's name


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if not _unmarked or event not in {"subprocess.Popen", "infra_mcp.tests.server"}:
        return
    argv = [os.fsdecode(word) for word in arguments[1]] if event == "subprocess.Popen" else []
    program = Path(argv[0]).name if argv else "infra-mcp"
    if program == "infra-mcp" or (program.startswith("python") and _PRODUCT.search(" ".join(argv[1:3]))):
        raise RuntimeError(f"{_unmarked[0]} starts the product as a process: mark it `process`")


sys.addaudithook(_look)
