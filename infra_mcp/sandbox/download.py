"""Where the releases of a control plane's binaries are published. What checks them is in `binaries/release.py`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from infra_mcp.binaries import release
from infra_mcp.binaries.progress import Progress
from infra_mcp.binaries.release import File, published, read, require_sha256
from infra_mcp.sandbox.versions import Versions

_RELEASES = {
    "kubernetes": "https://dl.k8s.io/release",
    "etcd": "https://github.com/etcd-io/etcd/releases/download",
    "kwok": "https://github.com/kubernetes-sigs/kwok/releases/download",
    "kwok_api": "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags",
}


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
    return await release.download(partial(_wanted, versions), "the control plane", into, progress)


def _wanted(versions: Versions) -> list[File]:
    """The files to fetch, with their published checksums."""
    kubernetes = f"{_RELEASES['kubernetes']}/v{versions.kubernetes}/bin/linux/{versions.machine}"
    files = []
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"):
        url = f"{kubernetes}/{name}"
        files.append(File(url, published(read(f"{url}.sha256"), name), name))

    folder = f"etcd-v{versions.etcd}-linux-{versions.machine}"
    archive = f"{folder}.tar.gz"
    etcd = f"{_RELEASES['etcd']}/v{versions.etcd}"
    sha256 = published(read(f"{etcd}/SHA256SUMS"), archive)
    files.append(File(f"{etcd}/{archive}", sha256, "etcd", f"{folder}/etcd"))

    # kwok publishes no checksum file; the release's listing carries a digest for each of its files
    listing = json.loads(read(f"{_RELEASES['kwok_api']}/v{versions.kwok}"))
    digests = {asset["name"]: asset.get("digest") or "" for asset in listing["assets"]}
    for name in ("kwok", "kwokctl"):
        asset = f"{name}-linux-{versions.machine}"
        sha256 = require_sha256(digests[asset].removeprefix("sha256:"))
        files.append(File(f"{_RELEASES['kwok']}/v{versions.kwok}/{asset}", sha256, name))
    return files
