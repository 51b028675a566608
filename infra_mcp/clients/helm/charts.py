"""Fetches charts: by repository, name and one version, into a cache by digest, with the dependencies of their lock.

Helm itself fetches, so that its repositories and registries work as people know them; what comes is unpacked by us. A
version that was fetched once is taken from the cache: the chart that was judged is the chart that is installed, also
where its repository publishes another one under the same version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from infra_mcp.clients.helm import archive
from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.folder import private_folder
from infra_mcp.clients.helm.program import Program
from infra_mcp.errors import InfraError
from infra_mcp.settings import cache_home
from infra_mcp.text import named

PULL_SECONDS: Final = 120.0
NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,98}[A-Za-z0-9])?")
VERSION: Final = re.compile(r"v?\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z.-]{1,100})?(\+[0-9A-Za-z.-]{1,100})?")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_URL: Final = re.compile(r"(?:https?|oci)://[A-Za-z0-9][A-Za-z0-9._~:/%+-]{0,500}")
_LOCAL: Final = re.compile(r"(?:http|oci)://(?:127\.0\.0\.1|localhost)(?::\d{1,5})?(?:/|$)")


@dataclass(frozen=True)
class Source:
    """A chart in a repository of charts."""

    repository: str  # `https://…`, or `oci://…` without the chart's name
    name: str
    version: str  # one version, no range
    digest: str = ""  # `sha256:…` of its archive, where it is pinned

    def __str__(self) -> str:
        """As people write it."""
        return f"chart {self.name} {self.version} of {self.repository}"

    def require_plain(self) -> None:
        """Require that name, version and repository are what they should be, and no flag.

        Raises:
            InfraError: `chart-unavailable`.
        """
        if not NAME.fullmatch(self.name):
            raise InfraError("chart-unavailable", "A chart's name is letters, digits, dots, hyphens and underscores.")
        if not VERSION.fullmatch(self.version):
            what = (
                f"Chart {self.name} is asked for in version {named(self.version or 'none')}, which is not one version."
            )
            step = "Name one version, such as 1.2.3: a range does not say what will be installed."
            raise InfraError("chart-unavailable", what, next_step=step)
        if not _URL.fullmatch(self.repository) or ".." in self.repository:
            what = f"The repository of chart {self.name} is no address that begins with https:// or oci://."
            raise InfraError("chart-unavailable", what)
        if self.repository.startswith("http://") and not _LOCAL.match(self.repository):
            raise InfraError("chart-unavailable", f"The repository of chart {self.name} is not read without TLS.")
        if self.digest and not DIGEST.fullmatch(self.digest):
            raise InfraError("chart-unavailable", f"The digest of chart {self.name} is not sha256: and 64 digits.")


@dataclass(frozen=True)
class Chart:
    """A chart with all that it needs, as files."""

    files: archive.Files
    name: str
    version: str
    digest: str  # of its archive, or of its files where they are in the repository

    def __repr__(self) -> str:
        """Without its files."""
        return f"Chart({self.name} {self.version} {self.digest})"


Mask = Callable[[str], str]
Allowed = Callable[[str], None]  # raises where policy does not list a repository


async def fetch(program: Program, source: Source, mask: Mask, allowed: Allowed) -> Chart:
    """A chart of a repository, with its dependencies.

    Raises:
        InfraError: `chart-unavailable`; what `allowed` raises.
    """
    data = await _archive(program, source, mask, allowed)
    files = await to_thread.run_sync(archive.unpack, data, str(source))
    about = archive.metadata(files, str(source))
    if (about.get("name"), str(about.get("version"))) != (source.name, source.version):
        shown = f"{named(str(about.get('name')))} {named(str(about.get('version')))}"
        raise InfraError("chart-unavailable", f"{source} holds chart {shown}.")
    whole = await with_dependencies(program, files, str(source), mask, allowed)
    return Chart(whole, source.name, source.version, _sha256(data))


async def local(program: Program, files: archive.Files, what: str, mask: Mask, allowed: Allowed) -> Chart:
    """A chart of this repository, with its dependencies.

    Args:
        program: the Helm that fetches.
        files: the chart's files; those of charts that it names by `file://` with a path that leads out are not.
        what: the chart, for messages.
        mask: hides secrets in Helm's texts.
        allowed: raises where policy does not list a repository.

    Raises:
        InfraError: `chart-unavailable`; what `allowed` raises.
    """
    about = archive.metadata(files, what)
    name, version = str(about.get("name") or ""), str(about.get("version") or "")
    if not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise InfraError("chart-unavailable", f"{what} has no name and version in Chart.yaml.")
    whole = await with_dependencies(program, files, what, mask, allowed)
    return Chart(whole, name, version, archive.digest_of(whole))


async def with_dependencies(
    program: Program, files: archive.Files, what: str, mask: Mask, allowed: Allowed
) -> dict[str, bytes]:
    """A chart's files with the archives of those dependencies that are not among them, by its Chart.lock.

    Raises:
        InfraError: `chart-unavailable`: there is no lock, it does not fit, or one cannot be had.
    """
    whole = dict(files)
    declared = archive.dependencies(files, what)
    missing = [one for one in declared if not _is_there(whole, one)]
    if not missing:
        return await to_thread.run_sync(archive.expanded, whole, what)
    locked = archive.lock(files, what)
    if locked is None or locked.get("digest") not in _lock_digests(declared, locked.get("dependencies") or []):
        why = "has no Chart.lock" if locked is None else "has a Chart.lock that is out of sync"
        step = "Run `helm dependency update` in the chart's folder, and commit Chart.lock."
        raise InfraError("chart-unavailable", f"{what} {why}, and needs charts that are not in it.", next_step=step)
    for one in missing:
        name = str(one.get("name"))
        found = [dep for dep in locked["dependencies"] if (dep.get("name"), dep.get("repository")) == _identity(one)]
        source = Source(str(one.get("repository") or ""), name, str(found[0].get("version")) if found else "")
        source.require_plain()
        whole[f"charts/{name}-{source.version}.tgz"] = await _archive(program, source, mask, allowed)
    return await to_thread.run_sync(archive.expanded, whole, what)


def _identity(dependency: dict[str, Any]) -> tuple[Any, Any]:
    return dependency.get("name"), dependency.get("repository")


def _is_there(files: archive.Files, dependency: dict[str, Any]) -> bool:
    """Whether a dependency lies in the chart's folder `charts`, as a folder or an archive."""
    name = str(dependency.get("name"))
    plain = re.compile(rf"charts/{re.escape(name)}(?:/Chart\.yaml|-v?\d[^/]*\.tgz)")
    return any(plain.fullmatch(path) for path in files)


_FIELDS: Final = ("name", "version", "repository", "condition", "tags", "enabled", "import-values", "alias")


def _lock_digests(declared: Sequence[dict[str, Any]], locked: Sequence[dict[str, Any]]) -> set[str]:
    """What Chart.lock has as its digest where it fits the declared dependencies (helm.sh/helm internal/resolver)."""

    def plain(one: dict[str, Any]) -> dict[str, Any]:
        known = {key: one[key] for key in _FIELDS if one.get(key) not in (None, "", [], False)}
        return {"name": "", "repository": ""} | known

    def ordered(one: dict[str, Any]) -> dict[str, Any]:
        return {key: one[key] for key in _FIELDS if key in one}

    text = json.dumps([[ordered(plain(one)) for one in side] for side in (declared, locked)], separators=(",", ":"))
    for char, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):  # as Go writes JSON
        text = text.replace(char, escape)
    return {_sha256(text.encode())}


async def _archive(program: Program, source: Source, mask: Mask, allowed: Allowed) -> bytes:
    """A chart's archive, from the cache or fetched into it."""
    source.require_plain()
    allowed(source.repository)
    cache = cache_home() / "charts"
    key = hashlib.sha256(f"{source.repository}|{source.name}|{source.version}".encode()).hexdigest()
    data = await to_thread.run_sync(_cached, cache, key)
    if data is None:
        data = await _pull(program, source, mask)
        await to_thread.run_sync(_keep, cache, key, data)
    if source.digest and _sha256(data) != source.digest:
        what = f"{source} is not the pinned one: its archive has {_sha256(data)}."
        raise InfraError("chart-unavailable", what, next_step="Correct the digest, if this chart is meant.")
    return data


async def _pull(program: Program, source: Source, mask: Mask) -> bytes:
    """Let Helm fetch an archive, in a folder without the user's repositories and logins."""
    async with private_folder(program.path) as folder:
        pulled = folder.path / "pulled"
        await to_thread.run_sync(pulled.mkdir)
        oci = source.repository.startswith("oci://")
        place = f"{source.repository.rstrip('/')}/{source.name}" if oci else source.name
        command = ["pull", place, "--version", source.version, "--destination", pulled]
        command += [] if oci else ["--repo", source.repository]
        command += ["--plain-http"] if oci and _LOCAL.match(source.repository) else []
        try:
            await program.command(folder).also(seconds=PULL_SECONDS).run(command)
        except HelmError as error:
            what = error.why or f"Helm says: {error.says(mask)}"
            raise InfraError("chart-unavailable", f"{source} cannot be fetched. {what.rstrip('.')}.") from error
        return await to_thread.run_sync(_pulled, pulled, source)


def _pulled(folder: Path, source: Source) -> bytes:
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1 or found[0].stat().st_size > archive.MAX_ARCHIVE:
        raise InfraError("chart-unavailable", f"{source} is no archive of at most {archive.MAX_ARCHIVE // 2**20} MB.")
    return found[0].read_bytes()


def _cached(cache: Path, key: str) -> bytes | None:
    """An archive of the cache, where it is what its digest says."""
    try:
        digest = (cache / "by-name" / key).read_text("utf-8").strip()
        data = (cache / f"{digest.replace(':', '-')}.tgz").read_bytes()
    except (OSError, ValueError):
        return None
    return data if _sha256(data) == digest else None


def _keep(cache: Path, key: str, data: bytes) -> None:
    """Put an archive into the cache in one step: a reader sees all of it or nothing."""
    (cache / "by-name").mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = _sha256(data)
    for path, content in (
        (cache / f"{digest.replace(':', '-')}.tgz", data),
        (cache / "by-name" / key, digest.encode()),
    ):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - the word says that it replaces


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
