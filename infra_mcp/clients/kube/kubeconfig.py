"""A kubeconfig as kubectl reads it: several files as one, every field of its own type, each error with its entry.

The kubernetes library has a merger too. It accepts wrong forms until something breaks on them, and takes the first of
two equal names within a file, where kubectl refuses; so files are read here, and the library gets complete entries.

Unsupported features are refused by name, never ignored: a user that impersonates another (the server itself
impersonates the circles' accounts), and the auth providers that kubectl no longer has.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_IMPERSONATION = {"as": str, "as-uid": str, "as-groups": list, "as-user-extra": dict}
_CERTIFICATE = ("client-certificate", "client-certificate-data", "client-key", "client-key-data")
_AUTHORITY = ("certificate-authority", "certificate-authority-data")
# The fields that are used, with the type kubectl wants of each. Others are left out, as kubectl leaves them out.
_FIELDS: dict[str, dict[str, Any]] = {
    "context": {"cluster": str, "user": str},
    "cluster": dict.fromkeys(("server", "tls-server-name", "proxy-url", *_AUTHORITY), str)
    | {"insecure-skip-tls-verify": bool},
    "user": dict.fromkeys((*_CERTIFICATE, "token", "tokenFile", "username", "password"), str)
    | {"exec": dict, "auth-provider": dict}
    | _IMPERSONATION,
    "exec": dict.fromkeys(("apiVersion", "command", "interactiveMode"), str)
    | {"args": list, "env": list, "provideClusterInfo": bool},
    "env": {"name": str, "value": str},
    "auth-provider": {"name": str, "config": dict},
}
_TYPES = {str: "a text", bool: "true or false", list: "a list", dict: "an object"}


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def read(kubeconfig: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One context's cluster and user, by the context's exact name.

    Args:
        kubeconfig: the file, or several in the form of KUBECONFIG; of two entries of one name the first file's is used.
        name: the context's name.

    Returns:
        The entries of cluster and user: every field that is not empty, paths absolute. The cluster's server is a URL.
        The user's token is that of its token file, where there is one.

    Raises:
        InfraError: `setup-failed`, naming file and entry, and never a value.
    """
    files = list(_files(kubeconfig))
    context = _entry(files, kubeconfig, "context", name)
    cluster = _entry(files, kubeconfig, "cluster", context["cluster"])
    return cluster, _entry(files, kubeconfig, "user", context["user"])


def contexts(kubeconfig: Path) -> list[str]:
    """The names of all contexts, in the order of the files.

    Raises:
        InfraError: `setup-failed`, as for `read`.
    """
    listed = (entry for file, config in _files(kubeconfig) for entry in _list(file, config, "contexts"))
    return list(dict.fromkeys(str(entry["name"]) for entry in listed if entry.get("name")))


def _files(kubeconfig: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each file that exists, with its content. Of several, as in KUBECONFIG, some may be missing."""
    names = dict.fromkeys(name for name in str(kubeconfig).split(os.pathsep) if name)
    found, missing = False, None
    for file in (Path(name).expanduser() for name in names):
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            missing = error
        except OSError as error:
            raise _failed(f"The kubeconfig {file} cannot be read ({error.strerror}).") from error
        else:
            found = True
            yield file, _parsed(file, content)
    if not found:
        raise _failed(f"The kubeconfig {kubeconfig} cannot be read (No such file or directory).") from missing


def _parsed(file: Path, content: bytes) -> dict[str, Any]:
    try:
        config = next(yaml.load_all(content, _Loader), None)  # of several documents the first, as kubectl
    except (yaml.YAMLError, ValueError, RecursionError):
        config = []  # the parser's message would quote the line, and it may be a token's
    config = {} if config is None else config
    if not isinstance(config, dict):
        raise _failed(f"{file} is not a kubeconfig.")
    return config


def _list(file: Path, config: dict[str, Any], section: str) -> list[dict[str, Any]]:
    entries = config.get(section)
    if not isinstance(entries, list | None):
        raise _failed(f"{section} of {file} is not a list.")
    return [entry for entry in entries or () if isinstance(entry, dict)]


def _entry(files: list[tuple[Path, dict[str, Any]]], kubeconfig: Path, kind: str, name: str) -> dict[str, Any]:
    """The entry of that name in the first file that has one; two in one file are as wrong as none, as for kubectl."""
    for file, config in files:
        found = [one for one in _list(file, config, f"{kind}s") if one.get("name") == name]
        if len(found) > 1:
            raise _failed(f"{file} has more than one {kind} named {quoted(name)}.")
        if found:
            return _Entry(file, f"{kind} {quoted(name)} of {file}").read(kind, found[0].get(kind))
    what = f"{kubeconfig} has no {kind} named {quoted(name)}."
    raise _failed(what, "Correct the context's name in infra.toml, or the kubeconfig; current-context is never used.")


class _Entry:
    """One entry, with its place for paths and for errors."""

    def __init__(self, file: Path, place: str) -> None:
        self._folder = file.parent.absolute()
        self._place = place

    def read(self, kind: str, entry: object) -> dict[str, Any]:
        given = self._fields(kind, entry, "")
        for key in _PATHS:
            if f"{key}-data" in given:
                given.pop(key, None)
                try:
                    base64.b64decode("".join(given[f"{key}-data"].split()), validate=True)
                except ValueError:
                    raise self._wrong(f"has a `{key}-data` that is not base64") from None
            elif key in given:
                given[key] = str(self._folder / given[key])
        if kind == "context" and (missing := next((key for key in _FIELDS[kind] if key not in given), None)):
            raise self._wrong(f"names no {missing}")
        if kind == "cluster":
            self._cluster(given)
        elif kind == "user":
            self._user(given)
        return given

    def _fields(self, kind: str, entry: object, at: str) -> dict[str, Any]:
        """The used fields of an object, each of the type it must have; null and empty are as good as absent."""
        if entry is None:
            return {}
        if not isinstance(entry, dict):
            raise self._wrong(f"is not an object{at}")
        known = _FIELDS[kind]
        given = {key: entry[key] for key in known if entry.get(key) is not None}
        for key, value in given.items():
            if not isinstance(value, known[key]):
                raise self._wrong(f"has a `{key}`{at} that is not {_TYPES[known[key]]}")
        return {key: value for key, value in given.items() if value}

    def _cluster(self, given: dict[str, Any]) -> None:
        if "server" not in given:
            raise self._wrong("has no `server`")
        if "://" not in given["server"]:  # as for kubectl, an address is enough
            secure = {*_AUTHORITY, "insecure-skip-tls-verify"} & given.keys()
            given["server"] = f"{'https' if secure else 'http'}://{given['server']}"
        for key in [key for key in ("server", "proxy-url") if key in given]:
            self._check_address(key, given[key])

    def _check_address(self, key: str, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or not url.isprintable():
            raise self._wrong(f"has a `{key}` that is not an address")
        if parts.scheme not in {"http", "https"}:
            raise self._wrong(f"has a `{key}` of scheme {quoted(parts.scheme, 20)}; only http and https can be used")

    def _user(self, given: dict[str, Any]) -> None:
        if acts := next((key for key in _IMPERSONATION if key in given), None):
            step = "Name a user with credentials of its own; the server impersonates the circles' accounts itself."
            raise _failed(f"The {self._place} impersonates another (`{acts}`), which is not supported.", step)
        if "tokenFile" in given:
            given["token"] = self._token(given.pop("tokenFile"), given.get("token"))
        if not given.get("token", "").isprintable():
            raise self._wrong("has a token with characters that no token has, such as line breaks")
        if "exec" in given:
            given["exec"] = self._plugin(given["exec"])
        if "auth-provider" in given:
            given["auth-provider"] = self._fields("auth-provider", given["auth-provider"], " in `auth-provider`")
            if (provider := given["auth-provider"].get("name", "")) != "oidc":
                what = f"The {self._place} uses auth-provider {quoted(provider, 40)}, which kubectl no longer has."
                raise _failed(what, "Use the provider's exec plugin, as its documentation says for kubectl.")

    def _token(self, file: str, else_: str | None) -> str:
        """The token in a file; the user's other one where the file has none."""
        token, why = "", "it is empty"
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            why = error.strerror or type(error).__name__
        except ValueError:
            why = "it is not text"
        if not (token or else_):
            raise _failed(f"The {self._place} names a token file without a token: {file} ({why}).")
        return token or else_ or ""

    def _plugin(self, spec: object) -> dict[str, Any]:
        at = " in `exec`"
        given = self._fields("exec", spec, at)
        if "command" not in given:
            raise self._wrong(f"has no `command`{at}")
        if not all(isinstance(one, str) for one in given.get("args", ())):
            raise self._wrong(f"has `args`{at} that are not all texts")
        if given.get("interactiveMode") == "Always":
            raise self._wrong("has an exec plugin that needs a terminal (`interactiveMode: Always`)")
        variables, given["env"] = given.get("env", ()), {}
        for one in variables:
            variable = self._fields("env", one, f" in `env`{at}")
            if "name" not in variable:
                raise self._wrong(f"has a variable without a `name`{at}")
            given["env"][variable["name"]] = variable.get("value", "")
        if os.sep in given["command"]:
            given["command"] = str(self._folder / given["command"])
        return given

    def _wrong(self, what: str) -> InfraError:
        return _failed(f"The {self._place} {what}.", "Correct the kubeconfig; `kubectl config view` must accept it.")


def _failed(what: str, step: str | None = None) -> InfraError:
    return InfraError("setup-failed", what, next_step=step)
