import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest

from infra_mcp.binaries.progress import Progress
from infra_mcp.sandbox.download import download
from infra_mcp.sandbox.versions import BINARIES, Versions

pytestmark = pytest.mark.anyio

LINUX = Versions(kubernetes="1.36.3", etcd="3.6.8", kwok="0.8.0", system="linux", machine="amd64")


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _archive():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("etcd-v3.6.8-linux-amd64/etcd")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"etcd"))
    return data.getvalue()


@pytest.fixture
def releases():
    """Release servers as the projects run them: path -> content, changed by a test before it downloads."""
    files = {}
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"):
        path = f"/kubernetes/v1.36.3/bin/linux/amd64/{name}"
        files[path] = name.encode()
        files[f"{path}.sha256"] = _sha256(name.encode()).encode()
    archive = _archive()
    files["/etcd/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz"] = archive
    sums = f"{'0' * 64}  etcd-v3.6.8-darwin-amd64.zip\n{_sha256(archive)}  etcd-v3.6.8-linux-amd64.tar.gz\n"
    files["/etcd/v3.6.8/SHA256SUMS"] = sums.encode()
    assets = []
    for name in ("kwok", "kwokctl"):
        files[f"/kwok/v0.8.0/{name}-linux-amd64"] = name.encode()
        assets.append({"name": f"{name}-linux-amd64", "digest": f"sha256:{_sha256(name.encode())}"})
    files["/api/v0.8.0"] = json.dumps({"assets": assets}).encode()
    return files


@pytest.fixture
def base(releases, monkeypatch):
    """The address of a server that has the releases."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = releases.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        own = {"kubernetes": f"{base}/kubernetes", "etcd": f"{base}/etcd", "kwok": f"{base}/kwok"}
        monkeypatch.setattr("infra_mcp.sandbox.download._RELEASES", own | {"kwok_api": f"{base}/api"})
        yield base
        server.shutdown()
        thread.join()


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("base")
async def test_every_binary_is_downloaded_checked_and_made_executable(into):
    out = io.StringIO()
    assert await download(into, LINUX, Progress(out)) is None
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {name: name.encode() for name in BINARIES}
    assert all(path.stat().st_mode & 0o111 for path in into.iterdir())
    assert "downloading the control plane" in out.getvalue()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/kubernetes/v1.36.3/bin/linux/amd64/kube-apiserver", "kube-apiserver"),
        ("/etcd/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz", "etcd"),
        ("/kwok/v0.8.0/kwokctl-linux-amd64", "kwokctl"),
    ],
)
async def test_a_file_with_a_wrong_checksum_is_not_kept(base, releases, into, path, name):
    releases[path] += b"!"
    why = await download(into, LINUX, Progress())
    assert why == f"{base}{path} is not what its publisher's checksum says"
    assert not (into / name).exists()


@pytest.mark.usefixtures("base")
async def test_a_file_without_a_checksum_is_not_downloaded(releases, into):
    releases["/api/v0.8.0"] = json.dumps({"assets": [{"name": "kwok-linux-amd64", "digest": None}]}).encode()
    assert await download(into, LINUX, Progress()) == "a published checksum is not a SHA-256"
    assert list(into.iterdir()) == []


async def test_a_missing_release_is_reported(base, releases, into):
    del releases["/etcd/v3.6.8/SHA256SUMS"]
    assert await download(into, LINUX, Progress()) == f"{base}/etcd/v3.6.8/SHA256SUMS answered 404"


async def test_a_missing_internet_connection_is_reported_at_once(into, monkeypatch):
    nowhere = dict.fromkeys(("kubernetes", "etcd", "kwok", "kwok_api"), "http://127.0.0.1:9/nothing")
    monkeypatch.setattr("infra_mcp.sandbox.download._RELEASES", nowhere)
    why = await download(into, LINUX, Progress())
    assert "refused" in why


async def test_a_platform_without_releases_is_not_tried(into):
    mac = Versions(kubernetes="1.36.3", etcd="3.6.8", kwok="0.8.0", system="darwin", machine="arm64")
    assert await download(into, mac, Progress()) == "no releases for darwin on arm64"
