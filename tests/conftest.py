"""What all tests share: one control plane for the whole session, and skips that are failures where it counts."""

import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from infra_mcp import sandbox
from infra_mcp.sandbox import given
from infra_mcp.sandbox.binaries import cached, ensure
from infra_mcp.settings import cache_home, sandbox_home

T = TypeVar("T")

STRICT = os.environ.get("CI") == "true" or bool(os.environ.get("INFRA_MCP_CI"))
# as they were at the start: some tests give sandboxes another place, and the session's must not follow
PLACES = {"INFRA_MCP_SANDBOX": str(sandbox_home()), "INFRA_MCP_CACHE": str(cache_home())}
OURS = "test-"  # a sandbox of tests is called so, and then the process id of its pytest


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


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """The session's control plane, started when the first test wants it and always taken down.

    INFRA_MCP_TEST_KUBECONFIG and INFRA_MCP_TEST_CONTEXT name one that is up already; that one is left as it is.
    """
    named = os.environ.get("INFRA_MCP_TEST_KUBECONFIG")
    if named:
        kubectl = Path(os.environ.get("INFRA_MCP_TEST_KUBECTL") or (cached() or Path()) / "kubectl")
        yield ControlPlane(Path(named), os.environ["INFRA_MCP_TEST_CONTEXT"], kubectl)
        return
    request.getfixturevalue("binaries")
    _in_place(_remove_leftovers)
    name = f"{OURS}{os.getpid()}"
    try:
        made = _in_place(sandbox.up, name)
        yield ControlPlane(made.kubeconfig, made.context, made.kubectl)
    finally:
        _in_place(sandbox.down, name)


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of the control plane's binaries; getting them would outlast any test, so they must be here.

    Fails, and does not skip, where they are not.
    """
    found = anyio.run(given.find)
    if _in_place(_cached) is None and isinstance(found, str):
        pytest.fail(f"The control plane's binaries are {found}. Get them once: make binaries", pytrace=False)
    return _in_place(ensure, sandbox.Progress())


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
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """The same for a module that skips itself."""
    report = yield
    if STRICT and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, where every test must run: {report.longrepr}"
    return report
