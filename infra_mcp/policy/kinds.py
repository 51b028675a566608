"""The sections of infra.toml for what is no Kubernetes manifest: Helm releases, DNS zones, Terraform workspaces."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infra_mcp.model.names import ClusterName, Frozen
from infra_mcp.policy.grammar import Duration, RelativePath, Text
from infra_mcp.policy.owners import is_within

# A zone as policy names it: lower case, without the last dot; an internationalised one in its ASCII form (RFC 5890).
ZoneName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?)*$", max_length=253
    ),
]
WorkspaceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
# A name of a record below its zone, in which `*` stands for any characters.
RecordPattern = Annotated[str, StringConstraints(pattern=r"^[-a-z0-9_.*@]+$", max_length=253)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]


class HelmRules(Frozen):
    """Where Helm's charts may come from, beside the repository itself."""

    repositories: tuple[Text, ...] = ()


class ZoneRules(Frozen):
    """A DNS zone: how its records become live, and which servers must answer with them."""

    backend: Literal["rfc2136", "coredns", "dnsendpoint", "external"]
    file: RelativePath | None = None
    server: Text | None = None
    key_file: Text | None = None
    servers: tuple[Text, ...] = ()
    cluster: ClusterName | None = None
    timeout: Duration = "2m"


class WorkspaceRules(Frozen):
    """A Terraform workspace: the folder of its root module, and what its runs may use."""

    path: RelativePath
    environment: tuple[VariableName, ...] = Field(default=(), max_length=50)
    network: bool = False
    timeout: Duration = "1h"


def zone_of(path: str, zones: Mapping[str, ZoneRules]) -> str | None:
    """The zone whose records a file holds: the one that names it, or else the one that it is named after."""
    named = [(one.file, name) for name, one in zones.items() if one.file is not None and is_within(path, one.file)]
    if named:
        return max(named, key=lambda pair: len(pair[0]))[1]
    base = posixpath.basename(path)
    return next((name for name, one in zones.items() if one.file is None and base in _files(name)), None)


def _files(zone: str) -> set[str]:
    """What people call the file of a zone."""
    return {zone, f"db.{zone}", *(f"{zone}{end}" for end in (".yaml", ".yml", ".zone", ".db", ".dns", ".hosts"))}
