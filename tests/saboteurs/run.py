"""`make prove`: breaks the product on purpose, one safety at a time, and sees whether the tests notice.

Each saboteur of saboteurs.toml is a small patch, applied to a copy of the repository; the tests marked with its
promises run there, and the servers they start import the copy too. It is caught when one of them fails that passes
without the patch. The tests it names come first, since they look at the real thing and are likely to notice; the others
run only when those did not. The run fails when a saboteur is not caught, when its patch no longer applies, or when
nothing can be told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

__all__ = ["Broken", "Outcome", "Patch", "Saboteur", "apply", "judge", "load", "of_promises"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SKIPPED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build")
sys.path[:0] = [str(ROOT), str(HERE.parent)]

from saboteurs.changed import changed  # noqa: E402 - it is on the path now

MAX_SECONDS = 1800.0  # seconds for one run of tests
CLUSTER = ("INFRA_MCP_TEST_KUBECONFIG", "INFRA_MCP_TEST_CONTEXT")
# What a patch makes that fits the code no longer: it breaks down, which is not what it was to break.
CRASHES = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "AttributeError", "TypeError")


class Broken(Exception):  # noqa: N818 - told to a person
    """A saboteur that proves nothing: its patch does not apply, or its tests say nothing."""


@dataclass(frozen=True)
class Patch:
    """One replacement in one file. `find` stands there exactly once."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Saboteur:
    """One way to break the product, and the promises whose tests must notice.

    `tests` are some of theirs, at least one for each promise, that run first: over real processes, transports or the
    cluster where the promise is about those.
    """

    name: str
    breaks: str
    promises: tuple[str, ...]
    patches: tuple[Patch, ...]
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How one test ended."""

    test: str
    phase: str
    outcome: str
    promises: tuple[str, ...]
    why: str


def load(file: Path = HERE / "saboteurs.toml") -> list[Saboteur]:
    """All saboteurs, in the order of the file."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return [
        Saboteur(
            name,
            one["breaks"],
            tuple(one["promises"]),
            tuple(Patch(**patch) for patch in one["patches"]),
            tuple(one.get("tests", ())),
        )
        for name, one in data.items()
    ]


def apply(saboteur: Saboteur, root: Path) -> None:
    """Patch the repository at `root`.

    Raises:
        Broken: a patch does not apply, or leaves no Python behind.
    """
    for patch in saboteur.patches:
        file = root / patch.file
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if (count := text.count(patch.find)) != 1:
            raise Broken(f"the patch of {patch.file} no longer applies: its text is there {count} times")
        text = text.replace(patch.find, patch.replace)
        try:
            compile(text, patch.file, "exec")
        except SyntaxError as error:
            raise Broken(f"the patch of {patch.file} leaves no Python behind: {error}") from error
        file.write_text(text, encoding="utf-8")


def judge(saboteur: Saboteur, before: Sequence[Outcome], after: Sequence[Outcome]) -> Outcome:
    """The test that caught the saboteur.

    Args:
        saboteur: who is looked for.
        before: how the tests ended without the patch.
        after: how they ended with it.

    Raises:
        Broken: without the patch a test fails already or none ran; with it, nothing failed in a test's own body but by
            a breakdown, or tests could not even be collected.
    """
    ours = [one for one in before if set(one.promises) & set(saboteur.promises)]
    failed = [one for one in before if one.outcome == "failed" and (one in ours or one.phase == "collect")]
    if failed:
        raise Broken(f"without the patch {failed[0].test} fails already: {failed[0].why}")
    good = {one.test for one in ours if one.outcome == "passed" and one.phase == "call"}
    silent = set(saboteur.promises) - {name for one in ours if one.test in good for name in one.promises}
    if silent:
        raise Broken(f"no test ran for {', '.join(sorted(silent))}")
    lost = next((one for one in after if one.outcome == "failed" and one.phase == "collect"), None)
    if lost:
        raise Broken(f"with the patch {lost.test} cannot be collected")
    caught = [one for one in after if one.outcome == "failed" and one.phase == "call" and one.test in good]
    if not caught:
        raise Broken(f"NOT CAUGHT: {saboteur.breaks}")
    noticed = [one for one in caught if not one.why.startswith(CRASHES)]
    if not noticed:
        raise Broken(f"with the patch {caught[0].test} breaks down: {caught[0].why}")
    return noticed[0]


def of_promises(names: Iterable[str]) -> list[str]:
    """The files with tests that prove one of these promises: what else there is need not even be collected."""
    from matrix import marked  # noqa: PLC0415 - from the folder beside this one

    tests = marked()
    return sorted({test.partition("::")[0] for name in names for test in tests.get(name, ())})


def _copy(source: Path, root: Path) -> Path:
    shutil.copytree(source, root, ignore=SKIPPED, symlinks=True)
    return root


def _test(root: Path, promises: Iterable[str], tests: Iterable[str], *options: str) -> list[Outcome]:
    """Run those of some tests of the repository at `root` that are marked, with the package of that very place."""
    outcomes, log = (root.with_name(f"{root.name}.{kind}") for kind in ("jsonl", "log"))
    outcomes.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "plugin", "--promise", ",".join(promises)]
    argv += ["--outcomes", str(outcomes), "--package", str(root), "-m", "not slow", *options, *tests]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests" / "saboteurs")])}
    with log.open("a", encoding="utf-8") as out:
        done = subprocess.run(
            argv, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=MAX_SECONDS
        )
    if done.returncode not in {0, 1, 2, 5} or not outcomes.is_file():
        raise Broken(f"pytest ended with {done.returncode}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    lines = outcomes.read_text(encoding="utf-8").splitlines()
    return [Outcome(**(one | {"promises": tuple(one["promises"])})) for one in map(json.loads, lines)]


@contextmanager
def _cluster() -> Iterator[None]:
    """One control plane for the whole run: the one given by the environment, or a sandbox of our own."""
    if all(os.environ.get(name) for name in CLUSTER):
        yield
        return
    from infra_mcp import sandbox  # noqa: PLC0415 - the whole package, not a copy's

    name = f"prove-{os.getpid()}"
    try:
        made = anyio.run(sandbox.up, name)
        os.environ |= dict(zip(CLUSTER, (made.kubeconfig, made.context), strict=True))
        os.environ["INFRA_MCP_TEST_KUBECTL"] = made.kubectl
        yield
    finally:
        anyio.run(sandbox.down, name)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _told(outcomes: Sequence[Outcome], what: str, start: float) -> list[Outcome]:
    passed = sum(one.outcome == "passed" for one in outcomes)
    _say(f"without a patch: {passed} of {len(outcomes)} {what} pass ({time.monotonic() - start:.0f} s)")
    return list(outcomes)


def _caught(saboteur: Saboteur, root: Path, named: list[Outcome], whole: Path) -> Outcome:
    """Who catches it: of the tests it names, or else of all that prove its promises.

    Raises:
        Broken: nobody does, or nothing can be told.
    """
    apply(saboteur, root)
    if saboteur.tests:
        after = _test(root, saboteur.promises, saboteur.tests, "--maxfail=1")
        try:
            return judge(saboteur, named, after)
        except Broken as why:
            _say(f"{saboteur.name}: the tests it names: {why}")
    start, every = time.monotonic(), of_promises(saboteur.promises)
    before = _told(_test(whole, saboteur.promises, every), f"tests of {', '.join(saboteur.promises)}", start)
    return judge(saboteur, before, _test(root, saboteur.promises, every, "--maxfail=1"))


def prove(saboteurs: Sequence[Saboteur], home: Path, minutes: float = math.inf) -> int:
    """Run all of them, or as many as can be begun in that time; the number of those that were not caught."""
    start = time.monotonic()
    deadline = start + minutes * 60
    source = _copy(ROOT, home / "source")  # once, so that all see the same, whoever edits meanwhile
    whole, named = _copy(source, home / "whole"), list[Outcome]()
    if tests := sorted({test for one in saboteurs for test in one.tests}):
        promises = sorted({name for one in saboteurs for name in one.promises})
        named = _told(_test(whole, promises, tests), "tests that are named", start)
    missed = 0
    for number, saboteur in enumerate(saboteurs):
        start = time.monotonic()
        if start > deadline:
            _say(f"no time for {', '.join(one.name for one in saboteurs[number:])}: make prove runs all")
            saboteurs = saboteurs[:number]
            break
        try:
            caught = _caught(saboteur, _copy(source, home / saboteur.name), named, whole)
            said = f"caught by {caught.test}: {caught.why}"
        except (Broken, subprocess.TimeoutExpired) as error:
            missed += 1
            said = f"FAILED: {error}"
        _say(f"{saboteur.name}: {said} ({time.monotonic() - start:.0f} s)")
    _say(f"{len(saboteurs) - missed} of {len(saboteurs)} saboteurs caught")
    return missed


def main() -> int:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--changed", action="store_true", help="only those whose files a change touched")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin none after that long")
    parser.add_argument("--list", action="store_true", help="only say who there is")
    parser.add_argument("--keep", action="store_true", help="keep the copies and their logs")
    given = parser.parse_args()
    saboteurs = load()
    if given.changed:
        base, files = changed(ROOT)
        saboteurs = [one for one in saboteurs if files & {patch.file for patch in one.patches}]
        names = ", ".join(one.name for one in saboteurs) or "none"
        _say(f"saboteurs of files that differ from {base}: {names}")
    if given.list:
        for one in saboteurs:
            _say(f"{one.name}: {one.breaks} ({', '.join(one.promises)})")
        return 0
    if given.names:
        unknown = set(given.names) - {one.name for one in saboteurs}
        if unknown:
            _say(f"there is no saboteur {', '.join(sorted(unknown))}")
            return 2
        saboteurs = [one for one in saboteurs if one.name in given.names]
    if not saboteurs:
        return 0
    home = Path(tempfile.mkdtemp(prefix="infra-mcp-prove-"))
    try:
        with _cluster():
            return 1 if prove(saboteurs, home, given.minutes) else 0
    except Broken as error:
        _say(str(error))
        return 1
    finally:
        if given.keep:
            _say(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
