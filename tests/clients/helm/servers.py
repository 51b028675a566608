"""Repositories of charts on this machine: one that speaks HTTP with an index, and a registry of OCI."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import yaml
from clients.helm.parts import digest_of

__all__ = ["ChartServer", "chart_server"]

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class ChartServer:
    """Serves charts, by name and version, both as `http://…/charts` and as `oci://…/charts`."""

    def __init__(self, port):
        self.port = port
        self.charts = {}  # (name, version) -> archive
        self.asked = []
        self.helm = None  # the program of the test

    @property
    def http(self):
        return f"http://127.0.0.1:{self.port}/charts"

    @property
    def oci(self):
        return f"oci://127.0.0.1:{self.port}/charts"

    def put(self, name, version, data):
        self.charts[name, version] = data

    def answer(self, path):
        """Status, type and body of an answer."""
        self.asked.append(path)
        if path == "/charts/index.yaml":
            entries = {}
            for name, version in self.charts:
                one = {"apiVersion": "v2", "name": name, "version": version}
                entries.setdefault(name, []).append(one | {"urls": [f"{self.http}/{name}-{version}.tgz"]})
            return 200, "text/yaml", yaml.safe_dump({"apiVersion": "v1", "entries": entries}).encode()
        if path == "/v2/":
            return 200, "application/json", b"{}"
        for (name, version), data in self.charts.items():
            if path == f"/charts/{name}-{version}.tgz":
                return 200, "application/gzip", data
            manifest, blobs = _oci(name, version, data)
            if path.startswith(f"/v2/charts/{name}/"):
                rest = path.removeprefix(f"/v2/charts/{name}/")
                if rest in {f"manifests/{version}", f"manifests/{digest_of(manifest)}"}:
                    return 200, _MANIFEST, manifest
                digest = rest.removeprefix("blobs/")
                if digest in blobs:
                    return 200, "application/octet-stream", blobs[digest]
        return 404, "text/plain", b"not here"


def _oci(name, version, data):
    config = json.dumps({"name": name, "version": version, "apiVersion": "v2"}).encode()
    layers = [
        {
            "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "digest": digest_of(data),
            "size": len(data),
        }
    ]
    about = {
        "mediaType": "application/vnd.cncf.helm.config.v1+json",
        "digest": digest_of(config),
        "size": len(config),
    }
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": about, "layers": layers}).encode()
    return manifest, {digest_of(config): config, digest_of(data): data}


@contextmanager
def chart_server():
    """One that serves while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, kind, body = made.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if kind == _MANIFEST:
                self.send_header("Docker-Content-Digest", digest_of(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as the server calls it

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = ChartServer(server.server_port)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
