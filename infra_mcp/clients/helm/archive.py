"""Charts as files: unpacked from an archive or taken from the repository, without links, and bounded.

A chart is a folder whose files lie in it: an archive with a link, an absolute path, a path that leads out or a device
is refused, whatever it would lead to.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from infra_mcp.errors import InfraError
from infra_mcp.text import named

MAX_ARCHIVE: Final = 32 * 1024 * 1024  # bytes
MAX_UNPACKED: Final = 128 * 1024 * 1024  # bytes in all
MAX_FILES: Final = 10_000
MAX_DEPTH: Final = 5  # of charts in charts
_CHART: Final = "Chart.yaml"
_NESTED: Final = re.compile(r"(?:charts/[^/]+/)*charts/[^/._][^/]*\.tgz")

Files = Mapping[str, bytes]  # by path below the chart's folder


def unpack(data: bytes, what: str) -> dict[str, bytes]:
    """The files of a chart's archive.

    Args:
        data: the archive, a gzipped tar with one folder at its top.
        what: the chart, for messages.

    Raises:
        InfraError: `chart-unavailable`: it is none, or holds what may not be unpacked.
    """
    files: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for number, member in enumerate(archive):
                if number >= MAX_FILES:
                    raise _refused(what, f"holds more than {MAX_FILES} files")
                if member.isdir() or member.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
                    continue
                if not member.isreg():
                    raise _refused(what, f"holds {named(member.name)}, which is a link or a device")
                size += member.size
                if size > MAX_UNPACKED:
                    raise _refused(what, f"is larger than {MAX_UNPACKED // 2**20} MB unpacked")
                content = archive.extractfile(member)
                if content is not None:
                    files[_inside(member.name, what)] = content.read(MAX_UNPACKED)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise _refused(what, "is no archive of a chart") from error
    if _CHART not in files:
        raise _refused(what, f"has no {_CHART}")
    return files


def _inside(name: str, what: str) -> str:
    """A member's path below the archive's one folder."""
    top, _, path = name.removeprefix("./").partition("/")
    parts = path.split("/")
    if not path or not top or "\\" in name or ":" in top or any(part in ("", ".", "..") for part in (top, *parts)):
        raise _refused(what, f"holds {named(name)}, which is no path in it")
    return path


def expanded(files: Files, what: str, depth: int = MAX_DEPTH) -> dict[str, bytes]:
    """The files of a chart with those of the archives in its folders `charts` unpacked beside them.

    Raises:
        InfraError: `chart-unavailable`: one of them may not be unpacked, or they are nested too deeply.
    """
    found: dict[str, bytes] = {}
    for path, data in files.items():
        if not _NESTED.fullmatch(path):
            found[path] = data
            continue
        if not depth:
            raise _refused(what, f"holds charts in charts more than {MAX_DEPTH} deep")
        inner = expanded(unpack(data, f"{what}: {path}"), what, depth - 1)
        found |= {f"{path.removesuffix('.tgz')}/{one}": content for one, content in inner.items()}
    if sum(map(len, found.values())) > MAX_UNPACKED or len(found) > MAX_FILES:
        raise _refused(what, f"is larger than {MAX_UNPACKED // 2**20} MB or {MAX_FILES} files unpacked")
    return found


def write(files: Files, folder: Path) -> None:
    """Write a chart's files into a new folder.

    Raises:
        InfraError: `setup-failed`: they cannot be written.
    """
    folder.mkdir()
    try:
        for path, data in files.items():
            if any(part in ("", ".", "..") for part in path.split("/")):
                raise _refused(folder.name, f"holds {named(path)}, which is no path in it")
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(data)
    except (OSError, ValueError) as error:
        raise InfraError("setup-failed", f"The files of a chart cannot be written to {folder}.") from error


def digest_of(files: Files) -> str:
    """The digest of a chart that is no archive: of the paths and contents of its files."""
    digest = hashlib.sha256()
    for path, data in sorted(files.items()):
        digest.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def metadata(files: Files, what: str) -> dict[str, Any]:
    """The content of Chart.yaml.

    Raises:
        InfraError: `chart-unavailable`: it is no such file.
    """
    return _mapping(files, _CHART, what)


def lock(files: Files, what: str) -> dict[str, Any] | None:
    """The content of Chart.lock, or of the requirements.lock of an older chart; None where there is none."""
    for name in ("Chart.lock", "requirements.lock"):
        if name in files:
            return _mapping(files, name, what)
    return None


def dependencies(files: Files, what: str) -> list[dict[str, Any]]:
    """The dependencies that a chart declares, in Chart.yaml or, as older ones do, in requirements.yaml."""
    declared = metadata(files, what).get("dependencies")
    if declared is None and "requirements.yaml" in files:
        declared = _mapping(files, "requirements.yaml", what).get("dependencies")
    return [one for one in declared or () if isinstance(one, dict)]


def crds(files: Files) -> dict[str, bytes]:
    """The files of the chart's folder `crds`, which Helm installs once and never upgrades, and of its subcharts'."""
    return {
        path: data
        for path, data in files.items()
        if "crds" in (parts := posixpath.dirname(path).split("/"))
        and all(parts[at] == "charts" for at in range(0, parts.index("crds"), 2))
    }


def _mapping(files: Files, name: str, what: str) -> dict[str, Any]:
    try:
        found = yaml.load(files[name], Loader=yaml.CSafeLoader)
    except (KeyError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused(what, f"has no readable {name}") from error
    if not isinstance(found, dict):
        raise _refused(what, f"has no readable {name}")
    return found


def _refused(what: str, why: str) -> InfraError:
    return InfraError("chart-unavailable", f"{what} {why}.")
