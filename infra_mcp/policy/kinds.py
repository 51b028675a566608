"""The sections of infra.toml for what is no Kubernetes manifest: Helm releases, DNS zones, Terraform workspaces."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from infra_mcp.model.names import ClusterName, Frozen
from infra_mcp.policy.grammar import AbsolutePath, Duration, ObjectPlace, RelativePath, RuleId, Text
from infra_mcp.policy.owners import is_within

# A name of a record below its zone, in which `*` stands for any characters.
RecordPattern = Annotated[str, StringConstraints(pattern=r"^[-a-z0-9_.*@]+$", max_length=253)]
# `host`, `host:port` or `[address]:port`.
NameServer = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[0-9a-fA-F:]*:[0-9a-fA-F:]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$",
        max_length=260,
    ),
]
# Where another tool has the TXT record that names the owner of a record: `extdns-{type}-{name}`.
MarkerTemplate = Annotated[str, StringConstraints(pattern=r"^[-a-z0-9_.{}]*\{name\}[-a-z0-9_.{}]*$", max_length=120)]
# The key of a ConfigMap's data (Kubernetes, ConfigMap).
ConfigKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
_WEEK: Final = 7 * 86_400
# Of those that Terraform reads itself only variables and credentials: of registries, and of the http backend.
_STEERING = re.compile(
    r"(?:TF_(?!VAR_|TOKEN_|HTTP_USERNAME$|HTTP_PASSWORD$)|TOFU_|INFRA_MCP_|LD_|DYLD_|KUBE|GODEBUG|PATH$|TMPDIR$|BASH)",
    re.IGNORECASE,
)


def _is_given(name: str) -> str:
    """A variable's name, unless it is one that policy cannot hand over.

    Raises:
        ValueError: it is.
    """
    if _STEERING.match(name):
        msg = "is a variable that steers programs, or the server's own"
        raise ValueError(msg)
    return name


# A variable of the environment; none of those that steer programs, or that are the server's own.
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100), AfterValidator(_is_given)
]
# A pattern of a source, an address, a type or a fact, in which `*` stands for any characters.
AnyPattern = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]+$", max_length=300)]


class HelmRules(Frozen):
    """Where Helm's charts may come from, beside the repository itself."""

    repositories: tuple[Text, ...] = ()


class ZoneRules(Frozen):
    """A DNS zone: how its records become live, and which servers must answer with them."""

    backend: Literal["rfc2136", "coredns", "dnsendpoint", "external"]
    file: RelativePath | None = None
    server: NameServer | None = None
    key_file: AbsolutePath | None = None
    servers: tuple[NameServer, ...] = Field(default=(), max_length=20)
    resolver: NameServer | None = None
    cluster: ClusterName | None = None
    object: ObjectPlace | None = None
    key: ConfigKey | None = None
    publish: AbsolutePath | None = None
    marker: RuleId | None = None
    registry: tuple[MarkerTemplate, ...] = Field(default=(), max_length=10)
    private: bool = False
    ttl: int = Field(default=300, ge=1, le=_WEEK)
    min_ttl: int = Field(default=60, ge=1, le=_WEEK)
    max_ttl: int = Field(default=86_400, ge=1, le=_WEEK)
    timeout: Duration = "2m"

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed = {
            "rfc2136": ("server", "key_file"),
            "coredns": ("servers",),
            "dnsendpoint": ("cluster", "object", "servers"),
        }
        if missing := [key for key in needed.get(self.backend, ()) if not getattr(self, key)]:
            msg = f"needs {' and '.join(missing)} for backend {self.backend}"
            raise ValueError(msg)
        in_cluster = {self.cluster is None, self.object is None, self.key is None}
        if self.backend == "coredns" and (len(in_cluster) > 1 or in_cluster == {self.publish is None}):
            msg = "needs either publish, or cluster, object and key for backend coredns"
            raise ValueError(msg)
        if not self.min_ttl <= self.ttl <= self.max_ttl:
            msg = "needs a ttl between min_ttl and max_ttl"
            raise ValueError(msg)
        return self


class WorkspaceRules(Frozen):
    """A Terraform workspace: the folder of its root module, what its runs may use, and what they may do."""

    path: RelativePath
    program: Literal["tofu", "terraform"] | None = None
    var_files: tuple[RelativePath, ...] = Field(default=(), max_length=20)
    backend: Literal["local", "s3", "gcs", "azurerm", "http", "pg", "consul", "cos", "oss"] | None = None
    backend_config: tuple[RelativePath, ...] = Field(default=(), max_length=20)
    reads: tuple[RelativePath, ...] = Field(default=(), max_length=50)
    environment: tuple[VariableName, ...] = Field(default=(), max_length=50)
    network: bool = False
    mirror: AbsolutePath | None = None
    providers: tuple[AnyPattern, ...] = Field(default=(), max_length=100)
    modules: tuple[AnyPattern, ...] = Field(default=(), max_length=100)
    types: tuple[AnyPattern, ...] | None = Field(default=None, max_length=200)
    allow: tuple[AnyPattern, ...] = Field(default=(), max_length=50)
    volatile: tuple[AnyPattern, ...] = Field(default=(), max_length=50)
    destroy: Literal["approve", "allow", "refuse"] = "approve"
    timeout: Duration = "1h"


def workspace_of(path: str, workspaces: Mapping[str, WorkspaceRules]) -> str | None:
    """The workspace that a file is of: the one in whose folder it is, or else the first that policy says reads it."""
    above = [(len(one.path), name) for name, one in workspaces.items() if is_within(path, one.path)]
    if above:
        return max(above, key=lambda pair: pair[0])[1]
    read = ((name, (*one.var_files, *one.backend_config, *one.reads)) for name, one in workspaces.items())
    return next((name for name, places in read if any(is_within(path, place) for place in places)), None)


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
