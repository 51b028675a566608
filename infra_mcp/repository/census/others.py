"""What a repository holds beside apps: it is named, with its delivery, and no version of it is looked for. Pure."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from infra_mcp.repository.census import helmfile
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.lenient import joined, lineage
from infra_mcp.repository.scalars import Json

Kind = Literal["terraform", "terragrunt", "zone", "compose", "helmfile", "encrypted"]

_MOST_FILES: Final = 20_000  # of one kind that are looked into
_RECORDS: Final = 20  # of a zone that are looked at
_MODULES: Final = frozenset({"module", "modules", ".terraform"})
_SOURCE = re.compile(rb'^\s*source\s*=\s*"(\.{1,2}/[^"]*)"', re.MULTILINE)
_COMPOSE = re.compile(r"(?:docker-)?compose(?:[-_.][\w.-]+)?\.ya?ml", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]+\.?", re.IGNORECASE)
_ZONE = re.compile(r"db\..+|.+\.(?:zone|db|dns)|(?:[a-z0-9_-]+\.)+(?:[a-z]{2,})(?:\.hosts)?", re.IGNORECASE)
_IS_ZONE = re.compile(rb"^\$ORIGIN\s|\sSOA\s+[\w.-]+\s+[\w.\\-]+", re.MULTILINE)
_TYPES: Final = frozenset(
    {"A", "AAAA", "ALIAS", "CAA", "CNAME", "DNAME", "DS", "LOC", "MX", "NAPTR", "NS", "PTR", "SPF", "SRV", "SSHFP"}
    | {"SVCB", "HTTPS", "TLSA", "TXT", "URLFWD"}
)


@dataclass(frozen=True)
class Other:
    """Something that is delivered, and is no app."""

    kind: Kind
    path: str  # its folder, or its file
    delivery: str  # `terraform`, `dns`, `helm`; `none` where nothing here could carry it out
    count: int = 1  # of files, where a folder stands for several

    @property
    def is_terraform(self) -> bool:
        """Whether Terraform, or what wraps it, is run there."""
        return self.kind in {"terraform", "terragrunt"}


def others(index: Index) -> list[Other]:
    """Roots of Terraform, zones, compose files, helmfiles that are not read, encrypted files; by kind and path."""
    unread = [Other("helmfile", path, "helm") for path in helmfile.unread(index)]
    found = [*_terraform(index), *_zones(index), *_compose(index), *unread, *_encrypted(index)]
    return sorted(found, key=lambda one: (one.kind, one.path))


def _terraform(index: Index) -> Iterator[Other]:
    """Folders that Terraform is run in: modules, and folders that other configurations read, are left out."""
    files = [path for path in index.paths if path.endswith((".tf", ".tf.json", ".tofu"))][:_MOST_FILES]
    used: set[str] = set()
    for path, data in index.tree.read_all(files).items():
        folder = posixpath.dirname(path)
        for source in _SOURCE.findall(data or b""):
            named = source.decode("utf-8", "replace").partition("?")[0]
            used.add(joined(folder, named))
    configured = Counter(map(posixpath.dirname, files))
    values = Counter(posixpath.dirname(path) for path in index.paths if path.endswith((".tfvars", ".tfvars.json")))
    hcl = Counter(
        posixpath.dirname(path) for path in index.paths if posixpath.basename(path).lower() == "terragrunt.hcl"
    )
    inner = {above for folder in hcl for above in lineage(folder)[:-1]}
    for folder in (configured | values).keys() | hcl.keys():
        if (folder in used and folder not in values) or not _MODULES.isdisjoint(folder.split("/")):
            continue
        if folder in hcl:
            if folder not in inner or folder in configured:  # what the others include is no root
                yield Other("terragrunt", folder, "terraform", hcl[folder] + configured[folder])
        else:
            yield Other("terraform", folder, "terraform", configured[folder] + values[folder])


def _zones(index: Index) -> Iterator[Other]:
    for path in index.paths:
        base, suffix = posixpath.splitext(posixpath.basename(path))
        if suffix in {".yaml", ".yml"} and _DOMAIN.fullmatch(base) and not index.says_kinds(path):
            documents = index.documents(path)
            if len(documents) == 1 and _is_zone(documents[0]):
                yield Other("zone", path, "dns")
    named = (path for path in index.paths if _ZONE.fullmatch(posixpath.basename(path)))
    files = [path for path in islice(named, _MOST_FILES) if not path.endswith((".yaml", ".yml", ".json"))]
    for path, data in index.tree.read_all(files).items():
        if data and _IS_ZONE.search(data):
            yield Other("zone", path, "dns")


def _is_zone(value: Json) -> bool:
    """Whether a file has names with records, as octoDNS reads them."""
    if not isinstance(value, dict) or not value:
        return False
    for records in islice(value.values(), _RECORDS):
        for one in records if isinstance(records, list) else [records]:
            if not isinstance(one, dict) or str(one.get("type")).upper() not in _TYPES:
                return False
    return True


def _compose(index: Index) -> Iterator[Other]:
    for path in index.paths:
        if _COMPOSE.fullmatch(posixpath.basename(path)) and isinstance(index.document(path).get("services"), dict):
            yield Other("compose", path, "none")


def _encrypted(index: Index) -> Iterator[Other]:
    """The folders of encrypted files at the top, each with the number of them."""
    counted = Counter(path.partition("/")[0] if "/" in path else "" for path in index.encrypted)
    yield from (Other("encrypted", folder, "none", number) for folder, number in counted.items())
