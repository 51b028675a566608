"""Reads the releases that Helm stores in a cluster: one Secret a revision, of type `helm.sh/release.v1`.

Helm 3 and 4 write the same form: the release as JSON, gzipped and in base64, and again in base64 as every Secret; its
labels say name, revision and status (helm.sh/helm pkg/storage/driver). What is read holds the values and manifests of
the release with its Secrets: nothing of it is passed on unmasked.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra_mcp.errors import InfraError

TYPE: Final = "helm.sh/release.v1"
_ROLLBACK: Final = re.compile(r"Rollback to (\d{1,9})")
_MAX_SIZE: Final = 64 * 1024 * 1024  # bytes; a Secret holds at most a megabyte, zipped

DEPLOYED: Final = "deployed"
FAILED: Final = "failed"
GOOD: Final = frozenset({DEPLOYED, "superseded"})  # a superseded revision was deployed once
PENDING: Final = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})


@dataclass(frozen=True)
class Hook:
    """A hook of a revision."""

    name: str
    kind: str
    events: tuple[str, ...]  # `pre-upgrade`, …
    weight: int
    delete: tuple[str, ...]  # when it is deleted; empty for Helm's default, before the next one is created
    manifest: str = field(repr=False)
    phase: str = ""  # of its last run: `Succeeded`, `Failed`, `Running`, `Unknown`; empty where it did not run


@dataclass(frozen=True)
class Revision:
    """One revision of a release."""

    name: str
    namespace: str
    number: int
    status: str
    description: str
    chart: str  # the chart's name
    version: str  # of the chart
    app_version: str
    updated: str  # when it was deployed last, as Helm writes it
    labels: Mapping[str, str]  # of its Secret, those of the user among them
    rolled_back_to: int | None  # the revision that it brought back, where Helm says it
    manifest: str = field(repr=False)
    hooks: tuple[Hook, ...] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)  # the user's, without the chart's own


def selector(name: str) -> str:
    """The labels by which the Secrets of a release are found."""
    return f"owner=helm,name={name}"


def secret_name(name: str, revision: int) -> str:
    """The name of the Secret of a revision."""
    return f"sh.helm.release.v1.{name}.v{revision}"


def history(secrets: Iterable[Mapping[str, Any]]) -> tuple[Revision, ...]:
    """The revisions in these Secrets, the oldest first.

    Raises:
        InfraError: `release-stuck`: one of them cannot be read.
    """
    found = [decode(one) for one in secrets if one.get("type") == TYPE]
    return tuple(sorted(found, key=lambda one: one.number))


def decode(secret: Mapping[str, Any]) -> Revision:
    """The revision in one Secret.

    Raises:
        InfraError: `release-stuck`: it cannot be read.
    """
    about = secret.get("metadata") or {}
    try:
        zipped = base64.b64decode(base64.b64decode((secret.get("data") or {})["release"], validate=True))
        return _revision(json.loads(_unzipped(zipped)), about.get("labels") or {})
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error, zlib.error) as error:
        what = f"Secret {about.get('namespace')}/{about.get('name')}, where Helm keeps a revision, cannot be read."
        raise InfraError("release-stuck", what) from error


def failed(secret: Mapping[str, Any], why: str) -> dict[str, Any]:
    """The Secret of a pending revision as a body that marks it as failed, so that Helm works on its release again.

    Helm refuses every operation on a release whose newest revision is pending; it ends that itself only where it lives
    to record an end.

    Raises:
        InfraError: `release-stuck`: it cannot be read.
    """
    decode(secret)
    about, data = secret["metadata"], str(secret["data"]["release"])
    release = json.loads(_unzipped(base64.b64decode(base64.b64decode(data))))
    release["info"] |= {"status": FAILED, "description": why}
    zipped = base64.b64encode(gzip.compress(json.dumps(release).encode(), mtime=0))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {key: about[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        | {"labels": {"status": FAILED}},
        "data": {"release": base64.b64encode(zipped).decode()},
    }


def parse(release: Mapping[str, Any]) -> Revision:
    """A release as Helm's commands print it.

    Raises:
        InfraError: `release-stuck`: it has not the form of one.
    """
    try:
        return _revision(release, {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InfraError("release-stuck", "Helm's answer is no release.") from error


def _unzipped(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    unzip = zlib.decompressobj(wbits=31)
    found = unzip.decompress(data, _MAX_SIZE)
    if unzip.unconsumed_tail:
        msg = "too large"
        raise ValueError(msg)
    return found


def _revision(release: Mapping[str, Any], labels: Mapping[str, str]) -> Revision:
    info, chart = release["info"], (release.get("chart") or {}).get("metadata") or {}
    return Revision(
        name=str(release["name"]),
        namespace=str(release["namespace"]),
        number=int(release["version"]),
        status=str(info["status"]),
        description=str(info.get("description") or ""),
        chart=str(chart.get("name") or ""),
        version=str(chart.get("version") or ""),
        app_version=str(chart.get("appVersion") or ""),
        updated=str(info.get("last_deployed") or ""),
        labels=dict(labels),
        rolled_back_to=_rolled_back_to(info),
        manifest=str(release.get("manifest") or ""),
        hooks=tuple(map(_hook, release.get("hooks") or ())),
        values=dict(release.get("config") or {}),
    )


def _rolled_back_to(info: Mapping[str, Any]) -> int | None:
    """The revision that a rollback brought back; Helm 3 says it in the description alone."""
    if info.get("rollback_revision"):
        return int(info["rollback_revision"])
    found = _ROLLBACK.fullmatch(str(info.get("description") or ""))
    return int(found[1]) if found else None


def _hook(one: Mapping[str, Any]) -> Hook:
    return Hook(
        name=str(one["name"]),
        kind=str(one.get("kind") or ""),
        events=tuple(map(str, one.get("events") or ())),
        weight=int(one.get("weight") or 0),
        delete=tuple(map(str, one.get("delete_policies") or ())),
        manifest=str(one.get("manifest") or ""),
        phase=str((one.get("last_run") or {}).get("phase") or ""),
    )
