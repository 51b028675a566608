"""The login of one context of a kubeconfig: host, TLS, authorization.

`kubeconfig` reads the context's entries, and the library makes a client of them (certificates, OIDC). Exec plugins run
here, because the library would give them our standard input (which may be a JSON-RPC pipe), no deadline, and would log
their output.

Importing this module imports `kubernetes` and aiohttp, which takes about a second: only `Cluster.connect` does, in a
thread.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
from anyio import to_thread
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.config_exception import ConfigException

from infra_mcp.clients.kube.kubeconfig import read
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

PLUGIN_DEADLINE = 30.0  # seconds an exec plugin may take
# The fields of a user that another program logs in with; the token is the one that we log in with.
_KEPT = frozenset(
    {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "username", "password"}
)


@dataclass(frozen=True)
class Login:
    """Made by `load`; renewed by making another."""

    host: str
    rest: Any  # the library's RESTClientObject; opens no connection before its first request
    authorization: str | None
    expires: float | None  # unix time in seconds, where an exec plugin gives one
    tls: str  # digest of the TLS material: a new token alone needs no new connections
    # The context's cluster and user as entries of a kubeconfig, without plugins: what they gave stands in it.
    entries: tuple[dict[str, Any], dict[str, Any]] = field(default=({}, {}), repr=False)


class _Connector(aiohttp.TCPConnector):
    """Aborts a connection that is given up: aiohttp forgets it, so its TLS shutdown could outlive the event loop."""

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:  # noqa: ANN401 - not exported
        if should_close or protocol.should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)


class _Rest(RESTClientObject):  # type: ignore[misc]  # the library has no types
    def _create_connector(self) -> aiohttp.TCPConnector:
        return _Connector(limit=self.maxsize, ssl=self.ssl_context)


async def load(kubeconfig: Path, context: str) -> Login:
    """Read the kubeconfig and log in as the named context's user.

    Args:
        kubeconfig: the file, or several in the form of KUBECONFIG; relative paths in one are relative to its directory.
        context: the context's exact name.

    Raises:
        InfraError: `setup-failed`: no such file, context, user or cluster, or a credential that does not load.
    """
    try:
        cluster, user = await to_thread.run_sync(read, kubeconfig, context)
        expires = None
        plugin = user.pop("exec", None)
        if plugin is not None and "token" not in user:  # a token is used as it is, by kubectl too
            answer, expires = await _ask_plugin(plugin, cluster, context)
            user |= answer
        return await to_thread.run_sync(_build, cluster, user, expires)
    except InfraError:
        raise
    except Exception as error:
        why = one_line(str(error)) if isinstance(error, ConfigException) else type(error).__name__
        what = f"The login of context {one_line(context)!r} of {kubeconfig} does not load: {why}."
        raise InfraError("setup-failed", what) from error


async def _ask_plugin(
    spec: dict[str, Any], cluster: dict[str, Any], context: str
) -> tuple[dict[str, Any], float | None]:
    """Run an exec credential plugin (client.authentication.k8s.io/v1) and return its answer as a kubeconfig user."""
    about: dict[str, Any] = {"interactive": False}
    if spec.get("provideClusterInfo"):
        known = {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify", "proxy-url"}
        about["cluster"] = {k: v for k, v in cluster.items() if k in known}
    info = {"apiVersion": spec.get("apiVersion"), "kind": "ExecCredential", "spec": about}
    failed = InfraError("setup-failed", f"The credential plugin of context {context!r} gave no credential.")
    try:
        with anyio.fail_after(PLUGIN_DEADLINE):
            done = await anyio.run_process(
                [spec["command"], *spec.get("args", ())],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # plugins print tokens there when asked to be verbose
                check=False,
                env={**os.environ, **spec["env"], "KUBERNETES_EXEC_INFO": json.dumps(info)},
                start_new_session=True,
            )
        status = json.loads(done.stdout)["status"]
        until = status.get("expirationTimestamp")
        expires = datetime.fromisoformat(until).timestamp() if until else None
        user: dict[str, Any] = {}
        if status.get("token"):
            user["token"] = str(status["token"])
        for key, value in (("client-certificate-data", "clientCertificateData"), ("client-key-data", "clientKeyData")):
            if status.get(value):
                user[key] = base64.b64encode(str(status[value]).encode()).decode()
    except (OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise failed from error
    if done.returncode or not user:
        raise failed
    return user, expires


def _build(cluster: dict[str, Any], user: dict[str, Any], expires: float | None) -> Login:
    """Let the library read the credential and make its client; in a thread, since it reads files, with its own loop."""
    config = {
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    configuration = Configuration()
    # The library writes inline keys to files, since OpenSSL reads only files; they are gone once the key is loaded.
    with tempfile.TemporaryDirectory(prefix="infra-mcp-") as scratch:
        try:
            # Paths are absolute by now, so there is no base path.
            loader = kube_config.KubeConfigLoader(config, "it", config_base_path="", temp_file_path=scratch)
            asyncio.run(loader.load_and_set(configuration))
            # A proxy of the environment is never used for an API server on this machine.
            name = urlsplit(configuration.host).hostname or ""
            is_local = name in ("localhost", "::1") or name.startswith("127.")
            configuration.client_session_kwargs = {"trust_env": not is_local}
            rest = _Rest(configuration)
            files = configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file
            material = [Path(file).read_bytes() if file else b"" for file in files]
            tls = hashlib.sha256(repr(material).encode()).hexdigest()
        finally:
            remembered = kube_config._temp_files  # noqa: SLF001 - else it would use a deleted file again
            for content in [content for content, name in remembered.items() if name.startswith(scratch)]:
                del remembered[content]
    authorization = configuration.api_key.get("BearerToken")
    kept = {key: value for key, value in user.items() if key in _KEPT}
    if (authorization or "").startswith("Bearer "):
        kept["token"] = str(authorization).removeprefix("Bearer ")
    ends = _end_of(authorization or "") if expires is None else expires
    return Login(configuration.host, rest, authorization, ends, tls, (cluster, kept))


def _end_of(authorization: str) -> float | None:
    """When a bearer token ends that is a JSON Web Token (RFC 7519, 4.1.4), as those of service accounts are."""
    try:
        payload = authorization.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (ValueError, LookupError, TypeError):
        return None
