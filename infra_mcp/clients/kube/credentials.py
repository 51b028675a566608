"""One context of a kubeconfig, made into a login: host, TLS, authorization.

The context is always named; `current-context` is taken out before the library sees the file. Everything but exec
plugins is the library's work (token files, certificates, OIDC); exec plugins run here, because the library's way
gives them our standard input (which may be a JSON-RPC pipe), no deadline, and logs what they print.

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
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import yaml
from anyio import to_thread
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.config_exception import ConfigException

from infra_mcp.clients.kube.errors import clean
from infra_mcp.errors import InfraError

__all__ = ["Login", "load"]

PLUGIN_DEADLINE = 30.0  # seconds an exec plugin may take
_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Login:
    """What it takes to be let in: made by `load`, renewed by making another."""

    host: str
    rest: Any  # the library's RESTClientObject; opens no connection before its first request
    authorization: str | None
    expires: float | None  # unix time in seconds, where an exec plugin said so
    tls: str  # digest of the TLS material: a new token alone needs no new connections

    def on(self, rest: Any) -> Login:  # noqa: ANN401 - the library has no types
        """The same login over connections that are open already."""
        return replace(self, rest=rest)


async def load(kubeconfig: Path, context: str) -> Login:
    """Read the kubeconfig and log in as the named context's user.

    Args:
        kubeconfig: the file; relative paths in it are relative to its directory.
        context: the context's exact name.

    Raises:
        InfraError: `setup-failed`: no such file or context, no such user or cluster, or a credential that does not
        load.
    """
    config = await to_thread.run_sync(_read, kubeconfig)
    entry = _named(config, "contexts", context, kubeconfig)["context"]
    user = _named(config, "users", str(entry.get("user")), kubeconfig).get("user") or {}
    expires = None
    if isinstance(user.get("exec"), dict):
        cluster = _named(config, "clusters", str(entry.get("cluster")), kubeconfig).get("cluster") or {}
        user, expires = await _ask_plugin(user["exec"], cluster, kubeconfig.parent, context)
    chosen = {
        "contexts": [{"name": context, "context": {**entry, "user": "user"}}],
        "clusters": config.get("clusters") or [],
        "users": [{"name": "user", "user": user}],
    }
    return await to_thread.run_sync(_build, chosen, kubeconfig, context, expires)


def _read(kubeconfig: Path) -> dict[str, Any]:
    try:
        config = yaml.load(kubeconfig.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InfraError("setup-failed", f"The kubeconfig {kubeconfig} cannot be read ({error.strerror}).") from error
    except yaml.YAMLError:
        config = None  # the parser's message would quote the line, and it may be a token's
    if not isinstance(config, dict):
        raise InfraError("setup-failed", f"{kubeconfig} is not a kubeconfig.")
    return config


def _named(config: dict[str, Any], section: str, name: str, kubeconfig: Path) -> dict[str, Any]:
    """The one entry of that name; two of one name are as wrong as none, since nobody could say which was meant."""
    entries = [e for e in config.get(section) or [] if isinstance(e, dict) and e.get("name") == name]
    if len(entries) != 1 or (section == "contexts" and not isinstance(entries[0].get("context"), dict)):
        found = "no" if not entries else "no usable" if len(entries) == 1 else "more than one"
        raise InfraError(
            "setup-failed",
            f"{kubeconfig} has {found} {section[:-1]} named {clean(name)!r}.",
            next_step="Correct the context's name in infra.toml, or the kubeconfig; current-context is never used.",
        )
    return dict(entries[0])


async def _ask_plugin(
    spec: dict[str, Any], cluster: dict[str, Any], base: Path, context: str
) -> tuple[dict[str, Any], float | None]:
    """Run an exec credential plugin (client.authentication.k8s.io/v1) and return its answer as a kubeconfig user."""
    command = str(spec.get("command") or "")
    if os.sep in command and not Path(command).is_absolute():
        command = str(base / command)
    info: dict[str, Any] = {
        "apiVersion": spec.get("apiVersion"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if spec.get("provideClusterInfo"):
        known = {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify", "proxy-url"}
        info["spec"]["cluster"] = {k: v for k, v in cluster.items() if k in known}
    extra = {str(e["name"]): str(e["value"]) for e in spec.get("env") or []}
    failed = InfraError("setup-failed", f"The credential plugin of context {context!r} gave no credential.")
    try:
        with anyio.fail_after(PLUGIN_DEADLINE):
            done = await anyio.run_process(
                [command, *map(str, spec.get("args") or [])],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # plugins print tokens there when asked to be verbose
                check=False,
                env={**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(info)},
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


def _build(config: dict[str, Any], kubeconfig: Path, context: str, expires: float | None) -> Login:
    """Let the library read the credential and make its client. Files and TLS: in a thread, with a loop of its own."""
    configuration = Configuration()
    # The library writes inline keys to files, since OpenSSL reads only files; they are gone once the key is loaded.
    with tempfile.TemporaryDirectory(prefix="infra-mcp-") as scratch:
        try:
            loader = kube_config.KubeConfigLoader(
                config_dict=config,
                active_context=context,
                config_base_path=str(kubeconfig.parent.absolute()),
                temp_file_path=scratch,
            )
            asyncio.run(loader.load_and_set(configuration))
            configuration.client_session_kwargs = {"trust_env": not _is_loopback(configuration.host)}
            rest = RESTClientObject(configuration)
            tls = _digest(configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            why = clean(str(error)) if isinstance(error, ConfigException) else type(error).__name__
            raise InfraError("setup-failed", f"The credential of context {context!r} does not load: {why}.") from error
        finally:
            remembered = kube_config._temp_files  # noqa: SLF001 - else it would use a deleted file again
            for content in [content for content, name in remembered.items() if name.startswith(scratch)]:
                del remembered[content]
    return Login(configuration.host, rest, configuration.api_key.get("BearerToken"), expires, tls)


def _digest(*files: str | None) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(Path(file).read_bytes() if file else b"")
        found.update(b"\0")
    return found.hexdigest()


def _is_loopback(host: str) -> bool:
    """Whether the API server is on this machine: then a proxy of the environment is never meant."""
    name = urlsplit(host).hostname or ""
    return name in _LOOPBACK or name.startswith("127.")
