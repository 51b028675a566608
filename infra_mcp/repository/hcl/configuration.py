"""What a Terraform configuration says before anything of it runs: its backend, sources, and what runs programs. Pure.

Planning runs code already: providers, and data sources that are programs or fetch a URL. So this is read, and judged by
policy, before the first command. What cannot be read this way is refused, since nothing could be said of it.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.repository.hcl.source import SUFFIXES, read
from infra_mcp.repository.hcl.variables import Variable, variables
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.scalars import Json

_CODE: Final = (".tf", ".tofu", ".tf.json", ".tofu.json")
_FILES: Final = re.compile(
    r"\b(?:file|filebase64|file(?:md5|sha1|sha256|sha512|base64sha256|base64sha512)|fileexists|fileset|templatefile"
    r"|pathexpand)\s*\("
)
# A path that is known as it stands: a text, alone or below a module's folder.
_PATH: Final = re.compile(
    r"\s*(?:path\.(?:module|root|cwd)|\"(?P<below>\$\{path\.(?:module|root|cwd)\}/)?(?P<path>[^\"\\$%]*)\")\s*[,)]"
)
_COMPUTED: Final = "(computed)"  # of a path that values decide: they may lead anywhere
_MAX_MODULES: Final = 500
LOCK_FILE: Final = ".terraform.lock.hcl"


@dataclass(frozen=True)
class Fact:
    """Something that policy must allow by name."""

    rule: str  # backend, module, provisioner, action, data, file
    where: str  # the file, and what in it
    value: str  # the type, or the source


@dataclass(frozen=True)
class Module:
    """One module of a configuration: a folder and what its files say."""

    path: str
    facts: tuple[Fact, ...]
    calls: tuple[tuple[str, str], ...]  # name and source of the modules that it calls
    variables: Mapping[str, Variable]
    backend: tuple[str, Mapping[str, Json]] | None  # type and arguments


def locked(data: bytes | None) -> dict[str, str]:
    """The providers of a lock file (`.terraform.lock.hcl`), by address, with their versions: no others are installed.

    Raises:
        InfraError: `manifest-invalid`: it cannot be read.
    """
    document = _document(LOCK_FILE, data or b"")
    return {address: str(block.get("version")) for address, block in _labelled(document.get("provider"))}


def is_code(path: str) -> bool:
    """Whether a file is one of a configuration."""
    return path.endswith(_CODE)


def module(path: str, files: Mapping[str, bytes]) -> Module:
    """One module.

    Args:
        path: its folder.
        files: the content of each of its files by path.

    Raises:
        InfraError: `manifest-invalid`: a file cannot be read.
    """
    documents = {name: _document(name, data) for name, data in sorted(files.items())}
    facts, calls, backend = [], [], None
    for name, document in documents.items():
        if not isinstance(document, dict):
            continue
        facts += list(_facts(name, document))
        for label, block in _labelled(document.get("module")):
            calls.append((label, str(block.get("source") or "")))
        for block in _bodies(document.get("terraform")):
            for kind, arguments in _labelled(block.get("backend")):
                backend = kind, arguments
    return Module(path, tuple(facts), tuple(calls), variables(documents), backend)


def modules(path: str, read_folder: Callable[[str], Mapping[str, bytes]]) -> list[Module]:
    """The root module and every module of the repository that it calls, directly or not.

    Args:
        path: the folder of the root module.
        read_folder: gives the code of a folder by path.

    Raises:
        InfraError: `manifest-invalid`: a file cannot be read, a module is not there, or there are too many.
    """
    found: dict[str, Module] = {}
    todo = [path]
    while todo:
        here = todo.pop(0)
        if here in found:
            continue
        files = read_folder(here)
        if not files:
            raise InfraError("manifest-invalid", f"There is no Terraform configuration in {here or '.'}.")
        if len(found) >= _MAX_MODULES:
            raise InfraError("manifest-invalid", f"{path} calls more than {_MAX_MODULES} modules.")
        found[here] = module(here, files)
        todo += [inner for _, source in found[here].calls if (inner := local(here, source)) is not None]
    return list(found.values())


def local(path: str, source: str) -> str | None:
    """The folder of a module that a source names in the repository; None for one from elsewhere.

    Raises:
        InfraError: `manifest-invalid`: it leads out of the repository.
    """
    if not source.startswith(("./", "../")):
        return None
    inner = joined(path, source)
    if inner == ".." or inner.startswith("../"):
        raise InfraError("manifest-invalid", f"The module {source} of {path} leads out of the repository.")
    return inner


def _document(name: str, data: bytes) -> Json:
    try:
        return read(data).value if name.endswith(SUFFIXES) else json.loads(data)
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{name}, line {error.line}: {error.why}.") from None
    except (ValueError, RecursionError):
        raise InfraError("manifest-invalid", f"{name} is no JSON.") from None


def _facts(name: str, document: dict[str, Json]) -> Iterator[Fact]:
    for block in _bodies(document.get("terraform")):
        yield from (Fact("backend", name, kind) for kind, _ in _labelled(block.get("backend")))
        if "cloud" in block:
            yield Fact("backend", name, "cloud")
    for label, block in _labelled(document.get("module")):
        yield Fact("module", f"{name}, module.{label}", str(block.get("source") or ""))
    yield from _runs(name, document)
    for text in _texts(document):
        yield from (Fact("file", name, path) for path in _paths(text, posixpath.dirname(name)))


def _runs(name: str, document: dict[str, Json]) -> Iterator[Fact]:
    """What may run programs, or read elsewhere."""
    for kind, resource, block in _twice(document.get("resource")):
        for provisioner, _ in _labelled(block.get("provisioner")):
            yield Fact("provisioner", f"{name}, {kind}.{resource}", provisioner)
    for holder in (document, *(block for _, block in _labelled(document.get("check")))):
        for word in ("data", "ephemeral"):
            for kind, resource, _ in _twice(holder.get(word)):
                yield Fact("data", f"{name}, {word}.{kind}.{resource}", kind)
    for kind, action, _ in _twice(document.get("action")):  # Terraform 1.14
        yield Fact("action", f"{name}, action.{kind}.{action}", kind)


def _paths(text: str, folder: str) -> Iterator[str]:
    """The files outside of the repository that an expression reads; one whose path is computed may be any."""
    for call in _FILES.finditer(text):
        found = _PATH.match(text, call.end())
        if found is None:
            yield _COMPUTED
        elif path := found["path"] or "":
            inside = posixpath.normpath(posixpath.join(folder, path)) if found["below"] or path[0] not in "/~" else ".."
            if inside.split("/")[0] == "..":
                yield path


def _labelled(value: Json) -> Iterator[tuple[str, dict[str, Json]]]:
    """Blocks with a label, in the forms that they have in JSON syntax: an object, or a list of objects."""
    for one in _bodies(value):
        for label, blocks in one.items():
            for block in _bodies(blocks) or [{}]:
                yield label, block


def _twice(value: Json) -> Iterator[tuple[str, str, dict[str, Json]]]:
    for kind, blocks in _labelled(value):
        for label, block in _labelled(blocks):
            yield kind, label, block


def _bodies(value: Json) -> list[dict[str, Json]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _texts(value: Json) -> Iterator[str]:
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, str) and "{" in one and "(" in one:  # an expression, or a text with one in it
            yield one
