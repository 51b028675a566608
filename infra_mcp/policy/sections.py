"""The sections of infra.toml as types. An absent key grants nothing; an unknown key is refused."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.location import At, parse
from infra_mcp.model.names import (
    Circle,
    ClusterName,
    Cpu,
    DnsLabel,
    EnvironmentName,
    Frozen,
    Memory,
    PeerName,
    PullSecretName,
    SettingName,
    WorkspaceName,
    ZoneName,
)
from infra_mcp.model.setting import SettingRule
from infra_mcp.policy.evidence import EvidenceRules
from infra_mcp.policy.grammar import (
    WORKLOADS,
    AbsolutePath,
    Branch,
    Committer,
    Duration,
    Explanation,
    Fields,
    ForgeAccount,
    ForgeLabel,
    ForgeRepository,
    GuardName,
    HostPattern,
    HttpAddress,
    ImagePattern,
    ImageTemplate,
    KindPattern,
    LabelPattern,
    Layout,
    Locations,
    LongDuration,
    ManagerPattern,
    NamespacePattern,
    ObjectPlace,
    PathPattern,
    Place,
    Rate,
    RelativePath,
    RemoteName,
    ScheduleText,
    Template,
    Text,
    VersionPattern,
    WorkloadPlace,
    matches,
    repository,
)
from infra_mcp.policy.guard.rules import SWITCHES
from infra_mcp.policy.kinds import RecordPattern
from infra_mcp.policy.schedule import Schedule
from infra_mcp.policy.versions import Order

# A policy may also name the actions of later versions, which grant nothing yet.
_GRANTABLE: Final = (*ACTIONS, "provision_app", "change_manifests", "apply_commits", "remove", "rollback")


_BY_PATH: Final = frozenset({"terraform", "dns"})  # deliveries whose place follows from the path, and is no cluster

_OTHERS: Final = frozenset({"external", "flux", "argocd"})


Write = Literal["local", "push", "pull-request"]
WRITES: Final = ("local", "push", "pull-request")  # how a change gets to the branch, the strictest last


class RootRules(Frozen):
    """One folder of the repository, and how and where its content becomes live."""

    path: RelativePath
    kind: Literal["raw"] = "raw"
    delivery: Literal["kubernetes", "helm", "terraform", "dns", "external", "flux", "argocd", "none"] = "kubernetes"
    cluster: ClusterName | None = None
    write: Literal["push", "pull-request"] | None = None

    @property
    def by_cluster(self) -> bool:
        """Whether its content becomes live in a cluster; else the path itself says where: a zone, a workspace."""
        return self.delivery not in _BY_PATH

    @property
    def holds_objects(self) -> bool:
        """Whether its files are manifests that are applied unchanged."""
        return self.delivery == "kubernetes"

    @property
    def is_others(self) -> bool:
        """Whether others make its content live, so that a policy needs to name no cluster for it."""
        return self.delivery in _OTHERS

    @property
    def is_delivered(self) -> bool:
        """Whether anything makes its content live."""
        return self.delivery != "none"


class TreeRules(Frozen):
    """The layout of the repository, and the field managers whose fields a change may take over."""

    branch: Branch = "main"
    write: Write = "local"
    fallback: Literal["pull-request"] | None = None
    remote: RemoteName = "origin"
    clone_mib: int = Field(default=2048, ge=16, le=1_048_576)
    committer: Committer = "infra-mcp <infra-mcp@localhost>"
    signing_key_file: AbsolutePath | None = None
    new: Layout | None = None
    roots: tuple[RootRules, ...] = Field(default=(RootRules(path="."),), min_length=1)
    adopt: tuple[ManagerPattern, ...] = ("kubectl", "kubectl-*", "before-first-apply")


class ForgeRules(Frozen):
    """Where the repository's remote is, and how the server logs in there: with credentials of its own, no person's."""

    kind: Literal["gitea", "github"] | None = None
    url: HttpAddress | None = None
    repository: ForgeRepository | None = None
    merge: Literal["people", "auto"] = "people"
    operators: dict[ForgeAccount, PeerName] = Field(default_factory=dict)
    labels: tuple[ForgeLabel, ...] = Field(default=(), max_length=20)
    expires: LongDuration = "14d"
    poll: Duration = "30s"
    token_file: AbsolutePath | None = None
    user: RemoteName = "infra-mcp"
    key_file: AbsolutePath | None = None
    known_hosts: AbsolutePath | None = None


class OwnerRules(Frozen):
    """Who owns the apps below some paths, where no section of an app says it."""

    paths: tuple[PathPattern, ...] = Field(min_length=1, max_length=500)
    owner: PeerName


class PeerRules(Frozen):
    """The name and description of this peer in the mesh."""

    name: PeerName = "infra"
    description: Explanation = "infra peer; owns k8s manifests"


class ClusterRules(Frozen):
    """A cluster, by the name of its context: a kubeconfig's current-context is never used."""

    context: Text
    service_accounts: DnsLabel = "infra-mcp"

    @property
    def circle_role(self) -> str:
        """The ClusterRole to which every circle's account is bound in its namespaces."""
        return f"{self.service_accounts}-circle"

    @property
    def server(self) -> str:
        """The server's own account, as the API server names it."""
        return f"system:serviceaccount:{self.service_accounts}:server"


class LimitRules(Frozen):
    """The largest numbers that a circle may request."""

    replicas: int | None = Field(default=None, ge=1, le=10_000)
    cpu: Cpu | None = None
    memory: Memory | None = None


class GrantRules(Frozen):
    """The grants of a circle or of attending sessions. An absent key grants nothing."""

    namespaces: tuple[NamespacePattern, ...] = ()
    actions: tuple[str, ...] = ()
    pull_secrets: tuple[PullSecretName, ...] = ()
    images: tuple[ImagePattern, ...] = ()
    labels: tuple[LabelPattern, ...] = ()
    limits: LimitRules = LimitRules()
    kinds: tuple[KindPattern, ...] | None = None
    hosts: tuple[HostPattern, ...] = ()
    allow: tuple[GuardName, ...] = ()
    helm: tuple[NamespacePattern, ...] = ()
    zones: tuple[ZoneName, ...] = ()
    records: tuple[RecordPattern, ...] = ()
    workspaces: tuple[WorkspaceName, ...] = ()

    @field_validator("actions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(_GRANTABLE):
            msg = f"is no action; there are {', '.join(_GRANTABLE)}"
            raise ValueError(msg)
        return value

    @field_validator("allow")
    @classmethod
    def _guardrails(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(SWITCHES):
            msg = "names no guardrail that can be switched off; `infra-mcp policy explain` lists them"
            raise ValueError(msg)
        return value


class CircleRules(GrantRules):
    """The grants of the peers of one circle."""

    read_logs: bool = False
    rate: Rate = "20000/h"
    peer_rate: Rate = "6000/h"


class AttendRules(GrantRules):
    """The grants of attending sessions, which also need those of the asker."""


class PullSecretRules(Frozen):
    """The source of a pull secret, and the name of the copy."""

    model_config = ConfigDict(populate_by_name=False)

    source: ObjectPlace = Field(alias="from")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)] | None = None

    @property
    def place(self) -> Place:
        """Namespace and name of the source."""
        namespace, _, name = self.source.partition("/")
        return Place(namespace, "", name)

    @property
    def target(self) -> str:
        """The name of the copy."""
        return self.name or self.place.name


class SettingRules(SettingRule):
    """A setting of an app that `configure` may change: where it stands, its type and its bounds."""

    at: Fields = ()

    @property
    def places(self) -> tuple[At, ...]:
        """Where it stands; empty where the locator is to find it."""
        return tuple(map(parse, self.at))


class EnvironmentRules(Frozen):
    """One environment of an app: its files or values, and where and when it is changed."""

    at: Locations = ()
    cluster: ClusterName | None = None
    namespace: DnsLabel | None = None
    deploy_on: Template | None = None
    schedule: ScheduleText | None = None
    evidence: EvidenceRules | None = None

    @property
    def places(self) -> tuple[At, ...]:
        """Its files, folders and values."""
        return tuple(map(parse, self.at))

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files and folders."""
        return tuple(at.path for at in self.places)


class AppRules(Frozen):
    """An app of the catalogue: its owner, what cannot be found in the repository, and how to roll it out."""

    owner: PeerName | None = None
    file: RelativePath | None = None
    workload: WorkloadPlace | None = None
    image: ImageTemplate | None = None
    versions: tuple[VersionPattern, ...] = ()
    settings: dict[SettingName, SettingRules] = Field(default_factory=dict)
    environments: dict[EnvironmentName, EnvironmentRules] = Field(default_factory=dict)
    deploy_on: Template | None = None
    schedule: ScheduleText = "now"
    order: Order = "semver"
    on_failure: Literal["rollback", "hold"] = "rollback"
    grace: Duration = "30s"
    timeout: Duration = "10m"
    cluster: ClusterName | None = None
    evidence: EvidenceRules | None = None

    @property
    def workload_parts(self) -> Place | None:
        """Namespace, kind (as the API spells it) and name of the workload; its API version is apps/v1."""
        if self.workload is None:
            return None
        namespace, kind, name = self.workload.split("/")
        return Place(namespace, WORKLOADS[kind], name)

    @property
    def repository(self) -> str | None:
        """The image's repository, without a tag."""
        return repository(self.image) if self.image else None

    def image_for(self, version: str) -> str | None:
        """The image of a version; its digest, if it has one, goes behind the whole tag."""
        tag, at, digest = version.partition("@")
        return f"{self.image.replace('{version}', tag)}{at}{digest}" if self.image else None

    def tag_for(self, version: str) -> str:
        """A version as the image's tag, with its digest; the version itself where there is no image."""
        return (self.image_for(version) or version).removeprefix(f"{self.repository}:")

    def allows(self, version: str) -> bool:
        """Whether a version is one of those that it may be brought to."""
        return not self.versions or any(matches(pattern, version) for pattern in self.versions)

    def namespaces(self, environment: str | None = None) -> frozenset[str]:
        """The namespaces that are known to be its own, in one environment or in any; empty where none is known."""
        chosen = self.environments.get(environment or "")
        if chosen is not None and chosen.namespace is not None:
            return frozenset({chosen.namespace})
        place = self.workload_parts
        own = frozenset({place.namespace}) if place else frozenset[str]()
        if environment is not None:
            return own
        return own | {one.namespace for one in self.environments.values() if one.namespace is not None}

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file and folder that its section names."""
        written = [text for one in self.environments.values() for text in one.at]
        written += [text for one in self.settings.values() for text in one.at]
        return tuple(dict.fromkeys([*([self.file] if self.file else []), *(parse(text).path for text in written)]))

    def files(self, environment: str | None = None) -> tuple[str, ...]:
        """The files and folders that show to which root it belongs: its environment's, or else its own."""
        chosen = self.environments.get(environment or "")
        if chosen is not None and chosen.at:
            return chosen.paths
        return (self.file,) if self.file else self.paths

    @property
    def when(self) -> Schedule:
        """When a release of it may begin, where its environment does not say it."""
        return Schedule.parse(self.schedule)

    def when_in(self, environment: str | None) -> Schedule:
        """When a release may begin in an environment, or in the only one where none is named."""
        chosen = self._chosen(environment)
        return Schedule.parse(chosen.schedule) if chosen and chosen.schedule else self.when

    def evidence_in(self, environment: str | None) -> EvidenceRules | None:
        """What shows that a change of an environment is live; of the only one where none is named."""
        chosen = self._chosen(environment)
        return (chosen.evidence if chosen else None) or self.evidence

    def _chosen(self, environment: str | None) -> EnvironmentRules | None:
        names = [environment] if environment else list(self.environments)
        return self.environments.get(names[0]) if len(names) == 1 else None


class HookRules(Frozen):
    """Who may send events of a forge, and whose release notice a new tag is, if anyone's."""

    key_file: AbsolutePath
    peer: PeerName | None = None
    circle: Circle | None = None
    tags: Template = "v{version}"
    notify: Template | None = None


class MessageRules(Frozen):
    """The retention of messages between peers."""

    keep: LongDuration = "30d"
