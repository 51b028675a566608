"""The binaries, downloaded from their projects' own release addresses.

Each file is checked against the SHA-256 that its publisher publishes. That finds a file cut short, changed by a proxy
or mixed up; it does not prove that the publisher was honest, nor that the address was not taken over (the build from
Go modules does: go.sum is part of this package). Nothing is run that was not checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import from_thread, to_thread

from infra_mcp.gather import gather
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.versions import Versions

_ANSWER_TIMEOUT = 5.0  # seconds; without the internet this fails fast
_READ_TIMEOUT = 30.0  # seconds without a byte
_MAX_CHECKSUMS = 10.0  # seconds for all checksums; a resolver that is not there can take long to fail
_CHUNK = 1 << 20
_RELEASES = {
    "kubernetes": "https://dl.k8s.io/release",
    "etcd": "https://github.com/etcd-io/etcd/releases/download",
    "kwok": "https://github.com/kubernetes-sigs/kwok/releases/download",
    "kwok_api": "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags",
}


class _File(NamedTuple):
    url: str
    sha256: str
    name: str
    member: str = ""  # the file to take out, where `url` is a tar archive


async def download(into: Path, versions: Versions, progress: Progress) -> str | None:
    """Download every binary into the empty folder `into`.

    Args:
        into: where the binaries go.
        versions: which; Kubernetes publishes servers for Linux only.
        progress: reports how much has arrived.

    Returns:
        None when all are there and checked; otherwise the reason.
    """
    if versions.system != "linux" or versions.machine not in ("amd64", "arm64"):
        return f"no releases for {versions.system} on {versions.machine}"
    try:
        with anyio.fail_after(_MAX_CHECKSUMS):
            wanted = await to_thread.run_sync(_wanted, versions, abandon_on_cancel=True)
        done: dict[str, tuple[int, int]] = {}

        def received(name: str, size: int, whole: int) -> None:
            done[name] = size, whole
            sizes, wholes = zip(*done.values(), strict=True)
            known = sum(wholes) if len(done) == len(wanted) and all(wholes) else 0
            progress.update("downloading the control plane", sum(sizes) / 1e6, known / 1e6, "MB")

        await gather(partial(to_thread.run_sync, _fetch, file, into, received) for file in wanted)
    except urllib.error.HTTPError as error:
        error.close()
        return f"{error.url} answered {error.code}"
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        return str(error) or "no answer in time"
    return None


def _wanted(versions: Versions) -> list[_File]:
    """The files to fetch, with their published checksums."""
    kubernetes = f"{_RELEASES['kubernetes']}/v{versions.kubernetes}/bin/linux/{versions.machine}"
    files = []
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"):
        url = f"{kubernetes}/{name}"
        files.append(_File(url, _sha256(_read(f"{url}.sha256").split()[0]), name))

    archive = f"etcd-v{versions.etcd}-linux-{versions.machine}"
    release = f"{_RELEASES['etcd']}/v{versions.etcd}"
    lines = [line.split() for line in _read(f"{release}/SHA256SUMS").splitlines() if line.strip()]
    sums = {name: sha256 for sha256, name in lines}
    files.append(_File(f"{release}/{archive}.tar.gz", _sha256(sums[f"{archive}.tar.gz"]), "etcd", f"{archive}/etcd"))

    # kwok publishes no checksum file; the release's listing carries a digest for each of its files
    listing = json.loads(_read(f"{_RELEASES['kwok_api']}/v{versions.kwok}"))
    digests = {asset["name"]: asset.get("digest") or "" for asset in listing["assets"]}
    for name in ("kwok", "kwokctl"):
        asset = f"{name}-linux-{versions.machine}"
        digest = digests[asset].removeprefix("sha256:")
        files.append(_File(f"{_RELEASES['kwok']}/v{versions.kwok}/{asset}", _sha256(digest), name))
    return files


def _sha256(text: str) -> str:
    if len(text) != hashlib.sha256().digest_size * 2 or not set(text) <= set("0123456789abcdef"):
        msg = "a published checksum is not a SHA-256"
        raise ValueError(msg)
    return text


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_ANSWER_TIMEOUT) as answer:  # noqa: S310 - our own constant addresses
        text: str = answer.read(_CHUNK).decode()
        return text


def _fetch(file: _File, into: Path, received: Callable[[str, int, int], None]) -> None:
    target = into / file.name
    taken = hashlib.sha256()
    size = 0
    with urllib.request.urlopen(file.url, timeout=_READ_TIMEOUT) as answer, target.open("wb") as out:  # noqa: S310 - as above
        whole = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
            taken.update(chunk)
            size += len(chunk)
            from_thread.check_cancelled()  # when another file failed
            from_thread.run_sync(received, file.name, size, whole)
    if taken.hexdigest() != file.sha256:
        target.unlink()
        msg = f"{file.url} is not what its publisher's checksum says"
        raise ValueError(msg)
    if file.member:
        with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
            member = archive.extractfile(file.member)
            if member is None:
                msg = f"{file.url} has no {file.member}"
                raise ValueError(msg)
            target.write_bytes(member.read())
    target.chmod(0o755)
