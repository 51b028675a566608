"""Archives of charts, as tests make them: good ones, and such as may not be unpacked."""

import gzip
import hashlib
import io
import tarfile

import yaml

__all__ = ["archive_of", "chart_yaml", "digest_of", "packed"]


def chart_yaml(name="docs", version="1.2.3", **more):
    return yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version} | more)


def archive_of(*members):
    """A gzipped tar of members, each a name and its content, or a `TarInfo`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
                continue
            name, text = one
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(made.getvalue(), mtime=0)


def packed(name="docs", version="1.2.3", files=None, **about):
    """The archive of a chart."""
    rest = files or {"templates/config.yaml": CONFIG}
    return archive_of(
        (f"{name}/Chart.yaml", chart_yaml(name, version, **about)),
        *((f"{name}/{path}", data) for path, data in rest.items()),
    )


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}
data: {version: {{ .Chart.Version | quote }}}
"""
