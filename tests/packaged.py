"""`make wheel`: the sdist, the wheel made of it, and the demo's first act told with that wheel and without the source.

The wheel goes into an empty environment, with the locked versions of what it needs. The demo runs there from a copy of
its folder, so that what it does is done by what a user gets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

__all__ = ["build", "lacking"]

ROOT = Path(__file__).resolve().parent.parent
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def _run(*argv: str | Path, cwd: Path, stdout: int | None = subprocess.PIPE) -> str:
    """Run a program that knows nothing of the source tree; what it prints on stdout, unless that goes elsewhere."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "KEEP")}
    return subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout, text=True, check=True).stdout


def sources() -> list[str]:
    """The files of the source tree, without what git ignores."""
    listed = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist of a clean copy of the sources, and the wheel of that sdist.

    Args:
        folder: an empty one, for the copy and what is built.

    Returns:
        The sdist and the wheel.
    """
    clean, made = folder / "source", folder / "made"
    for name in sources():
        (clean / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clean / name)
    made.mkdir()
    _run(sys.executable, "-c", SDIST, made, cwd=clean)
    (sdist,) = made.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    _run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", made, sdist, cwd=folder)
    (wheel,) = made.glob("*.whl")
    return sdist, wheel


def lacking(sdist: Path, wheel: Path) -> list[str]:
    """What a package has to hold and these do not, and what the wheel should not hold, a line each."""
    with tarfile.open(sdist) as file:
        in_sdist = {name.partition("/")[2] for name in file.getnames()}
    with zipfile.ZipFile(wheel) as file:
        in_wheel = {name for name in file.namelist() if ".dist-info/" not in name}
        info = {name.partition(".dist-info/")[2] for name in file.namelist() if ".dist-info/" in name}
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        licensed = "License-Expression: Apache-2.0" in file.read(metadata).decode().splitlines()
    package = {name for name in sources() if name.startswith("infra_mcp/")}
    lines = [f"the wheel lacks {name}" for name in sorted(package - in_wheel)]
    lines += [f"the wheel holds {name}" for name in sorted(in_wheel - package)]
    lines += [f"the sdist lacks {name}" for name in sorted({*package, "LICENSE", "README.md"} - in_sdist)]
    if not licensed or "licenses/LICENSE" not in info:
        lines.append("the wheel lacks its licence")
    return lines


def _tell(folder: Path, wheel: Path) -> None:
    """The demo's first act, with the wheel in an empty environment."""
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run(*pip, "--require-hashes", "--requirement", ROOT / "requirements.txt", cwd=folder)
    _run(*pip, "--no-deps", wheel, cwd=folder)
    _run(python, "-m", "pip", "--disable-pip-version-check", "check", cwd=folder)
    shutil.copytree(ROOT / "demo", folder / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    found = _run(python, "-c", "import infra_mcp; print(infra_mcp.__file__)", cwd=folder / "demo").strip()
    if not Path(found).is_relative_to(folder / "venv"):
        raise SystemExit(f"infra_mcp is imported from {found}, not from the wheel")
    print(f"{wheel.name}, imported from its environment's site-packages", flush=True)  # noqa: T201
    _run(python, "run.py", "--acts", "1", cwd=folder / "demo", stdout=None)


def main() -> int:
    """Build, compare, tell."""
    with tempfile.TemporaryDirectory(prefix="infra-mcp-wheel-") as name:
        folder = Path(name).resolve()
        sdist, wheel = build(folder)
        if lines := lacking(sdist, wheel):
            print("\n".join(lines), file=sys.stderr)  # noqa: T201
            return 1
        try:
            _tell(folder, wheel)
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd} ended with {error.returncode}", file=sys.stderr)  # noqa: T201
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
