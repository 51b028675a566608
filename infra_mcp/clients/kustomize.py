"""Builds a kustomization with the kubectl or kustomize of this machine, from files that are handed to it.

The child sees a private folder with these files, no credentials, no network and no programs. Its time, output and
memory are bounded. Plugins, functions and Helm are never switched on. Source: `kustomize build --help`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import anyio
from anyio import to_thread

from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import find, how_to_get
from infra_mcp.clients import process
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.text import named, one_line

BUILD_SECONDS: Final = 30.0
VERSION_SECONDS: Final = 10.0
MAX_OUTPUT: Final = process.MAX_OUTPUT
MAX_MEMORY: Final = 1024 * 1024 * 1024  # bytes of data; Go collects its garbage before that
_REASON: Final = 600  # characters of the renderer's own text

Restrict = Literal["root-only", "none"]

# A base that was missed could not be fetched: no proxy answers on the discard port, no certificate is valid, and there
# is no git on the empty PATH.
_NOWHERE = "http://127.0.0.1:9"
_CLOSED = {
    "PATH": "",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GOGC": "400",  # a build is short: with Go's default a quarter of its computing goes into collecting garbage
    "GOMEMLIMIT": str(MAX_MEMORY * 3 // 4),
    "GOTRACEBACK": "none",
    "KUBECONFIG": os.devnull,
    "KUBERC": "off",
    "LC_ALL": "C",
    "NO_PROXY": "",
    "SSL_CERT_DIR": os.devnull,
    "SSL_CERT_FILE": os.devnull,
} | {name: _NOWHERE for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())}
_VERSION = re.compile(r"v?\d[\w.+-]{0,60}")
_GET_ONE = how_to_get(TOOLS["kubectl"])
# kustomize shows whole patches and generators between these quotes, and a file's bytes as numbers.
_CONTENT = re.compile(r"`[^`]*`|\[\d{1,3}(?: \d{1,3})+\]")
_KLOG = re.compile(r'[EF]\d{4} \S+ +\d+ \S+\] "command failed" err="(.*)"', re.DOTALL)  # with a time and a process id
_WARNING = re.compile(r"^# Warning:.*$", re.MULTILINE)


@dataclass(frozen=True)
class Renderer:
    """The program that builds."""

    path: str
    arguments: tuple[str, ...]  # before the folder
    name: str  # with its version: `kubectl v1.36.3 (kustomize v5.8.1)`


@dataclass(frozen=True)
class Built:
    """A finished build."""

    data: bytes  # YAML, a document for each object
    renderer: str  # name and version


async def find_renderer(given: str | None = None) -> Renderer:
    """The renderer that is used: the given one, or what `find` finds as kubectl.

    Args:
        given: an executable's name or path.

    Raises:
        InfraError: `setup-failed`: there is none, or it does not say which version it is.
    """
    key = await to_thread.run_sync(_locate, given)
    if key not in _known:
        _known[key] = await _ask_version(key[0])
    return _known[key]


_known: dict[tuple[str, int], Renderer] = {}


def _locate(wanted: str | None) -> tuple[str, int]:
    """The executable's path, and when it was changed."""
    path = shutil.which(wanted) if wanted else os.fspath(find("kubectl").path)
    if path is None:
        raise InfraError("setup-failed", f"There is no executable {named(wanted or '')}.", next_step=_GET_ONE)
    return os.path.abspath(path), Path(path).stat().st_mtime_ns  # noqa: PTH100 - links may look at their own name


async def build(
    files: Mapping[str, bytes],
    root: str,
    *,
    restrict: Restrict = "root-only",
    links: Mapping[str, str] | None = None,
    renderer: Renderer | None = None,
    mask: Callable[[str], str] | None = None,
) -> Built:
    """Build the folder `root` of a tree that holds exactly these files.

    Args:
        files: content by path.
        root: the folder with the kustomization; empty for the top.
        restrict: whether a kustomization may read only files in its own folder, or any of these.
        links: symbolic links, with their targets, none of which leads out of the tree.
        renderer: the program; found by `find_renderer` by default.
        mask: hides secrets in the renderer's own text.

    Raises:
        InfraError: `build-failed`, with the renderer's reason, or when it took too much time, output or memory;
            `build-refused`: a path or link leads out of the tree; `setup-failed`: there is no renderer.
    """
    used = renderer or await find_renderer()
    shown = named(root or ".")
    async with _private_folder() as folder:
        await to_thread.run_sync(_write, folder / "tree", files, links or {})
        loose = ("--load-restrictor", "LoadRestrictionsNone") if restrict == "none" else ()
        argv = [used.path, *used.arguments, *loose, "--", os.fspath(folder / "tree" / root)]
        code, out, err = await _run(argv, folder, BUILD_SECONDS, f"The build of {shown}")
        if code:
            why = await to_thread.run_sync(_reason, err, folder, mask or Masker(os.urandom(32)).mask)
            ended = f"{used.name} was ended by signal {-code}" if code < 0 else used.name
            raise InfraError("build-failed", f"{shown} cannot be built. {ended}: {why}")
    return Built(out, used.name)


async def _ask_version(path: str) -> Renderer:
    async with _private_folder() as folder:
        what = f"{named(path)} version"
        code, out, _ = await _run([path, "version", "--client", "--output=json"], folder, VERSION_SECONDS, what)
        with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
            said = json.loads(out)
            version, inner = said["clientVersion"]["gitVersion"], said.get("kustomizeVersion")
            if not code and _VERSION.fullmatch(version):
                also = f" (kustomize {inner})" if inner and _VERSION.fullmatch(inner) else ""
                return Renderer(path, ("kustomize",), f"kubectl {version}{also}")
        code, out, _ = await _run([path, "version"], folder, VERSION_SECONDS, what)
        # `v5.8.1`, or in older ones `{Version:kustomize/v4.5.7 GitCommit:…}`
        match = re.search(r"(?:^|kustomize/)(v?\d[\w.+-]{0,60})", out.decode(errors="replace"))
        if code or not match:
            what = f"{named(path)} is neither kubectl nor kustomize: it does not say its version."
            raise InfraError("setup-failed", what, next_step=_GET_ONE)
        return Renderer(path, ("build",), f"kustomize {match[1]}")


@asynccontextmanager
async def _private_folder() -> AsyncIterator[Path]:
    """A folder with mode 0700, which is removed afterwards, whatever happens."""
    folder = Path(await to_thread.run_sync(partial(tempfile.mkdtemp, prefix="infra-mcp-build-")))
    try:
        for name in ("home", "tree"):
            (folder / name).mkdir()
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


def _write(tree: Path, files: Mapping[str, bytes], links: Mapping[str, str]) -> None:
    try:
        for path, data in files.items():  # before there are links that a path could lead through
            place = _place(tree, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(data)
        for path, target in links.items():
            place = _place(tree, path)
            _require_inside(tree, place.parent, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
            _require_inside(tree, place, path)
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "a name is no path"
        raise InfraError("setup-failed", f"The files of the build cannot be written to {tree}: {why}.") from error


def _place(tree: Path, path: str) -> Path:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise _outside(path)
    return tree / path


def _require_inside(tree: Path, place: Path, path: str) -> None:
    if not place.resolve().is_relative_to(tree.resolve()):
        raise _outside(path)


def _outside(path: str) -> InfraError:
    return InfraError("build-refused", f"{named(path)} leads out of the tree that is built.")


async def _run(argv: list[str], folder: Path, seconds: float, what: str) -> tuple[int, bytes, bytes]:
    """Run the renderer to its end, and return its exit code, output and errors."""
    home = os.fspath(folder / "home")
    env = _CLOSED | {"HOME": home, "TMPDIR": home, "XDG_CONFIG_HOME": home, "KUSTOMIZE_PLUGIN_HOME": home}
    try:
        ended = await process.run(
            argv, cwd=folder, env=env, seconds=seconds, max_output=MAX_OUTPUT, max_memory=MAX_MEMORY
        )
    except OSError as error:
        why = f"{named(argv[0])} cannot be started: {one_line(os.strerror(error.errno or 0))}."
        raise InfraError("setup-failed", why, next_step=_GET_ONE) from error
    if ended.timed_out:
        raise InfraError("build-failed", f"{what} did not end within {seconds:g} s and was stopped.")
    if ended.overflowed:
        raise InfraError("build-failed", f"{what} printed too much and was stopped.")
    return ended.code, ended.out, ended.err


def _reason(err: bytes, folder: Path, mask: Callable[[str], str]) -> str:
    """The renderer's own text as one line, without warnings, whole configurations, secrets and our folder's name."""
    text = _CONTENT.sub("…", _WARNING.sub("", err.decode("utf-8", "replace")))
    text = _KLOG.sub(lambda match: match[1].replace('\\"', '"'), text)
    for name in {os.fspath(folder), os.path.realpath(folder)}:
        text = text.replace(f"{name}/tree/", "").replace(f"{name}/tree", ".").replace(name, "")
    text = " ".join(mask(text).split()).removeprefix("error: ").removeprefix("Error: ")
    return one_line(text, _REASON) or "it gives no reason."
