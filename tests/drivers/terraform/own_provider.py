"""The tests' own provider: built once from its source in `provider`, and laid out as a mirror of providers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from infra_mcp.binaries.catalogue import MACHINE, SYSTEM, TOOLS
from infra_mcp.binaries.find import cached
from infra_mcp.settings import cache_home

__all__ = ["ADDRESS", "executable", "lock_file", "mirror", "program"]

SOURCE = Path(__file__).parent / "provider"
ADDRESS = "registry.example/acme/own"
CACHE = cache_home()  # as it was at the start: some tests give the cache another place
_BUILD_SECONDS = 900.0


def program(name: str = "tofu") -> str:
    """The name of a program of this machine; the test is skipped where there is none."""
    executable(name)
    return name


@cache
def executable(name: str = "tofu") -> str:
    """The path of a program of this machine; the test is skipped where there is none."""
    gotten = cached(TOOLS["tofu"]) if name == "tofu" else None
    path = shutil.which(name) or (str(gotten.path) if gotten else None)
    if path is None:
        pytest.skip(f"There is no {name} on this machine. Get OpenTofu once: infra-mcp tools get tofu")
    return path


@cache
def mirror() -> Path:
    """A folder that holds the provider as registries are mirrored; the test is skipped where it cannot be built."""
    files = sorted(SOURCE.glob("*"))
    key = hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()[:12]
    top = CACHE / "tests" / f"own-provider-{key}_{SYSTEM}-{MACHINE}"
    place = top / ADDRESS / "1.0.0" / f"{SYSTEM}_{MACHINE}" / "terraform-provider-own_v1.0.0"
    top.mkdir(parents=True, exist_ok=True)
    with (top / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker builds it; the others wait, and find it there
        if not place.is_file():
            _build(place)
    (top / "lock").unlink(missing_ok=True)
    return top


def _build(place: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("There is no go on this machine to build the tests' provider with")
    place.parent.mkdir(parents=True, exist_ok=True)
    argv = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(place) + ".new", "."]
    done = subprocess.run(
        argv, cwd=SOURCE, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        pytest.skip(f"The tests' provider cannot be built: {done.stderr[-300:]}")
    Path(str(place) + ".new").rename(place)


@cache
def lock_file(name: str = "tofu") -> str:
    """The lock file of a workspace that uses the provider, as `init` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.tf").write_text(REQUIRED, encoding="utf-8")
        config = Path(folder) / "cli.rc"
        config.write_text(
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror()}"\n  }}\n}}\n', encoding="utf-8"
        )
        env = {"PATH": os.environ["PATH"], "HOME": folder, "TF_CLI_CONFIG_FILE": str(config), "CHECKPOINT_DISABLE": "1"}
        argv = [executable(name), "init", "-input=false", "-backend=false"]
        subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return (Path(folder) / ".terraform.lock.hcl").read_text(encoding="utf-8")


REQUIRED = f"""\
terraform {{
  required_providers {{
    own = {{
      source  = "{ADDRESS}"
      version = "1.0.0"
    }}
  }}
}}
"""
