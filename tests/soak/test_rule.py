"""The soak's own rule tells a leak from warming up and from noise, and a short soak runs through."""

import importlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("soak")


def _noisy(values):
    dice = random.Random(7)
    return [value * dice.uniform(0.97, 1.03) for value in values]


@pytest.mark.parametrize(
    ("rule", "values", "kept"),
    [
        ("MEMORY", [110 + min(at, 40) for at in range(200)], True),  # it warms up, then stays
        ("MEMORY", [110 + at * 0.5 for at in range(200)], False),  # 50 MiB in the second half
        ("MEMORY", [110.0] * 150 + [160.0] * 50, False),  # a step that is not given back
        ("MEDIAN", [9, 6, 5, 5, 5, 5, 5, 5, 5, 5], True),
        ("MEDIAN", [5, 6, 7, 8, 9, 10, 11, 12, 13, 14], False),  # each tenth a little slower
        ("SLOWEST", [20, 25, 20, 30, 22, 20, 35, 20, 24, 21], True),
        ("SLOWEST", [20, 20, 20, 20, 20, 30, 45, 60, 75, 90], False),
    ],
)
def test_what_goes_on_rising_in_the_second_half_is_not_flat(soak, rule, values, kept):
    assert soak.flat(getattr(soak, rule), _noisy(values))[0] is kept


@pytest.mark.process
def test_a_short_soak_runs_through_and_says_what_it_saw():
    argv = [sys.executable, str(BENCH / "soak.py"), "--messages", "40", "--peers", "20", "--connections", "4"]
    done = subprocess.run(
        [*argv, "--search", "2000"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode in {0, 1}, done.stderr  # so short a run may be as noisy as the machine is
    assert "40 messages" in done.stdout
    assert "resident memory" in done.stdout
    assert "  2000 " in done.stdout
    assert "WRONG" not in done.stdout
