"""The clients of others, each in an environment of its own in the cache: `python tests/outside/environments.py`.

Nothing of them touches this project's environment. An environment is made once for its list of packages and kept; one
that was not finished is made anew. Where something cannot be had here (no npm, say) it says so and goes on, but where
every test must run it ends with 1.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra_mcp.settings import cache_home

__all__ = ["NODE", "PYTHON", "Missing", "node_path", "npm_tool", "python_of"]

HERE = Path(__file__).resolve().parent
PYTHON = ("fastmcp", "pydantic_ai", "langchain")
NODE = 22  # the oldest that the npm packages run on
STRICT = os.environ.get("CI") == "true" or bool(os.environ.get("INFRA_MCP_CI"))
_PATIENCE = 600  # seconds for one installation


class Missing(Exception):  # noqa: N818 - a reason to skip
    """An environment is not there; the text says why."""


def _home(name: str, *parts: bytes) -> Path:
    key = hashlib.sha256(b"\0".join((sys.version.encode(), *parts))).hexdigest()[:12]
    return cache_home() / "outside" / f"{name}-{key}"


def _run(*argv: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stdout[-2000:]}")


def _make(place: Path, build: Callable[[Path], None]) -> Path:
    """The environment at `place`, made there if it is not; half of one is thrown away."""
    mark = place / ".made"
    if not mark.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        build(place)
        mark.touch()
    return place


# -- Python
def _venv(name: str) -> Path:
    return _home(name, (HERE / "clients" / f"{name}.txt").read_bytes())


def _make_venv(name: str) -> Path:
    def build(place: Path) -> None:
        _run(sys.executable, "-m", "venv", place)
        wanted = HERE / "clients" / f"{name}.txt"
        pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run(*pip, "--requirement", wanted)

    return _make(_venv(name), build)


def python_of(name: str) -> Path:
    """The interpreter of a Python client's environment.

    Raises:
        Missing: it is not set up.
    """
    place = _venv(name)
    if not (place / ".made").exists():
        raise Missing(f"the environment of {name} is not set up: make test-clients")
    return place / "bin" / "python"


# -- node
def _new_enough(folder: Path) -> bool:
    node = folder / "node"
    if not (node.exists() and (folder / "npm").exists()):
        return False
    told = subprocess.run([node, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", told.stdout)
    return found is not None and int(found[1]) >= NODE


def _system_node() -> Path | None:
    found = shutil.which("node")
    folder = Path(found).parent if found else None
    return folder if folder is not None and _new_enough(folder) else None


def node_path() -> Path:
    """The folder with node and npm: the machine's, where that is new enough, or the one set up from PyPI.

    Raises:
        Missing: neither is there.
    """
    folder = _system_node() or _venv("node") / "bin"
    if not _new_enough(folder):
        raise Missing(f"no node {NODE} with npm here: make test-clients")
    return folder


def _npm() -> Path:
    return _home("npm", *((HERE / "npm" / name).read_bytes() for name in ("package.json", "package-lock.json")))


def _make_npm() -> Path:
    if _system_node() is None:
        _make_venv("node")
    tools = node_path()

    def build(place: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "npm" / name, place / name)
        path = f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        env = os.environ | {
            "PATH": path,
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
            "NPM_CONFIG_CACHE": str(place / "cache"),
        }
        # No package's own scripts: what is needed comes as files, and they run as whoever runs the tests.
        _run(tools / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", env=env, cwd=place)
        shutil.rmtree(place / "cache", ignore_errors=True)

    return _make(_npm(), build)


def npm_tool(*parts: str) -> Path:
    """A file of an installed npm package.

    Raises:
        Missing: it is not set up, or there is none for this kind of machine.
    """
    if not (_npm() / ".made").exists():
        raise Missing("the npm packages are not set up: make test-clients")
    found = _npm().joinpath("node_modules", *parts)
    if not found.exists():
        raise Missing(f"{'/'.join(parts)} has no build for this kind of machine")
    return found


def main() -> int:
    """Make whatever is not there, side by side."""
    jobs: dict[str, Callable[[], Path]] = {name: lambda name=name: _make_venv(name) for name in PYTHON}  # type: ignore[misc]
    jobs["npm"] = _make_npm
    started, missing = time.monotonic(), []
    with ThreadPoolExecutor(len(jobs)) as pool:
        for name, future in [(name, pool.submit(job)) for name, job in jobs.items()]:
            try:
                future.result()
            except (Missing, OSError, subprocess.TimeoutExpired) as error:
                missing.append(name)
                sys.stderr.write(f"{name} cannot be set up, so its tests are skipped: {error}\n")
    sys.stdout.write(
        f"clients of others: {len(jobs) - len(missing)} of {len(jobs)} in {time.monotonic() - started:.0f} s\n"
    )
    return 1 if missing and STRICT else 0


if __name__ == "__main__":
    sys.exit(main())
