"""For pytest: `--promise ID,ID` selects the tests marked with these promises, `--outcomes FILE` records how each ended.

Loaded by the runner beside this file (`-p plugin`); `make test` does not need it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import infra_mcp


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("promises")
    group.addoption("--promise", default="", help="only tests that prove one of these promises: ID,ID")
    group.addoption("--outcomes", default="", help="a file that gets each test's outcome, one JSON object a line")
    group.addoption("--package", default="", help="the folder infra_mcp must come from")


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--package")
    if wanted and not Path(infra_mcp.__file__).resolve().is_relative_to(Path(wanted).resolve()):
        raise pytest.UsageError(f"infra_mcp comes from {infra_mcp.__file__}, not from {wanted}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = {name for name in config.getoption("--promise").split(",") if name}
    if not wanted:
        return
    marked = [item for item in items if wanted & {name for mark in item.iter_markers("promise") for name in mark.args}]
    # Clients of others are set up by a target of their own, and are no quicker to notice than ours.
    chosen = [item for item in marked if item.get_closest_marker("outside") is None]
    # The real thing last: what a quick test notices need not wait for a cluster.
    chosen.sort(key=lambda item: item.get_closest_marker("cluster") is not None)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _record(config: pytest.Config, entry: dict[str, Any]) -> None:
    if file := config.getoption("--outcomes"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _collected.append(report.nodeid)


_collected: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    for nodeid in _collected:
        _record(session.config, {"test": nodeid, "phase": "collect", "outcome": "failed", "promises": [], "why": ""})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        why = call.excinfo.exconly(tryshort=True).splitlines()[0][:300] if call.excinfo else ""
        promises = sorted({name for mark in item.iter_markers("promise") for name in mark.args})
        entry = {"test": item.nodeid, "phase": report.when, "outcome": report.outcome, "promises": promises, "why": why}
        _record(item.config, entry)
    return report
