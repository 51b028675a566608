"""What each driver passed of the suite that all share, as a table at the end of a run: drivers and checks."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

__all__ = ["pytest_terminal_summary", "table"]

_SUITE = "drivers/test_conformance.py::Test"
_WORDS = {"passed": "yes", "failed": "FAILED", "error": "FAILED", "skipped": "skipped"}
_WORST_LAST = ("yes", "skipped", "FAILED")


def table(results: Iterable[tuple[str, str]]) -> list[str]:
    """The table of a run, as Markdown; no lines where the suite did not run.

    Args:
        results: the id of each test and how it ended, as pytest names both; tests of other suites are left out.

    Returns:
        A row for each check, a column for each driver: `yes`, `FAILED`, `skipped`, or `-` where the driver does not
        promise it (one that cannot take its writes back holds instead, and one that others deliver for writes nothing).
        One that runs with several parameters has the worst of them.
    """
    cells: dict[tuple[str, str], str] = {}
    for nodeid, outcome in results:
        _, suite, rest = nodeid.partition(_SUITE)
        if suite and outcome in _WORDS:
            driver, _, check = rest.partition("::test_")
            at = (check.partition("[")[0].replace("_", " "), driver)
            cells[at] = max(cells.get(at, "yes"), _WORDS[outcome], key=_WORST_LAST.index)
    drivers = sorted({driver for _, driver in cells})
    if not drivers:
        return []
    rows = [("check", *drivers), tuple("---" for _ in range(len(drivers) + 1))]
    rows += [
        (check, *(cells.get((check, driver), "-") for driver in drivers))
        for check in sorted({check for check, _ in cells})
    ]
    return [f"| {' | '.join(row)} |" for row in rows]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if the suite ran."""
    lines = table((one.nodeid, outcome) for outcome in _WORDS for one in terminalreporter.stats.get(outcome, ()))
    if lines:
        terminalreporter.section("what each driver does of what all must")
        terminalreporter.write_line("\n".join(lines))
