"""infra.toml, read and checked, as a value. `decide` applies it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.budget import Budget
from infra_mcp.model.names import (
    AppName,
    Circle,
    ClusterName,
    Frozen,
    HookName,
    IssuerName,
    PeerName,
    PullSecretName,
    WorkspaceName,
    ZoneName,
)
from infra_mcp.model.schema import listed, problems
from infra_mcp.policy.consistency import PLAIN, faults
from infra_mcp.policy.grammar import NamespacePattern, matches, protected, rate
from infra_mcp.policy.kinds import HelmRules, WorkspaceRules, ZoneRules, workspace_of, zone_of
from infra_mcp.policy.oidc import OidcRules
from infra_mcp.policy.owners import is_within, nearest
from infra_mcp.policy.restrictions import Freeze, GuardrailRules, OrderedFreeze, ProtectedRules, Rule
from infra_mcp.policy.sections import (
    WRITES,
    AppRules,
    AttendRules,
    CircleRules,
    ClusterRules,
    ForgeRules,
    GrantRules,
    HookRules,
    MessageRules,
    OwnerRules,
    PeerRules,
    PullSecretRules,
    RootRules,
    SettingRules,
    TreeRules,
    Write,
)
from infra_mcp.policy.signers import PublicKey
from infra_mcp.text import one_line

_BUILT_IN: Final = {
    "replicas": SettingRules(type="integer", min=0, max=10_000),
    "chart": SettingRules(type="chart-version"),
}
FIRST_LAYOUT: Final = "{root}/{namespace}/{kind}-{name}.yaml"
_MAX_BYTES: Final = 2**20  # people write the file by hand
_MAX_DOTS: Final = 1_000  # in one line
_MAX_KNOWN: Final = 4096
_T = TypeVar("_T")
_NO_CLUSTER: Final = ClusterRules(context="none")


class Policy(Frozen):
    """The content of infra.toml. Equal text gives equal policies; a policy never changes."""

    tree: TreeRules = TreeRules()
    forge: ForgeRules = ForgeRules()
    peer: PeerRules = PeerRules()
    clusters: dict[ClusterName, ClusterRules] = Field(default_factory=dict)
    circles: dict[Circle, CircleRules] = Field(default_factory=dict)
    pull_secrets: dict[PullSecretName, PullSecretRules] = Field(default_factory=dict)
    owners: tuple[OwnerRules, ...] = ()
    apps: dict[AppName, AppRules] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    freeze: tuple[Freeze, ...] = ()
    guardrails: tuple[GuardrailRules, ...] = ()
    protected: tuple[ProtectedRules, ...] = ()
    attend: AttendRules = AttendRules()
    pod_security: dict[NamespacePattern, Literal["privileged", "baseline", "restricted"]] = Field(default_factory=dict)
    helm: HelmRules = HelmRules()
    zones: dict[ZoneName, ZoneRules] = Field(default_factory=dict)
    workspaces: dict[WorkspaceName, WorkspaceRules] = Field(default_factory=dict)
    messages: MessageRules = MessageRules()
    hooks: dict[HookName, HookRules] = Field(default_factory=dict)
    oidc: dict[IssuerName, OidcRules] = Field(default_factory=dict)
    signers: dict[PeerName, tuple[PublicKey, ...]] = Field(default_factory=dict)

    _digest: str = PrivateAttr(default="")
    _actions: frozenset[str] = PrivateAttr(default=frozenset(ACTIONS))
    _ordered: tuple[OrderedFreeze, ...] = PrivateAttr(default=())

    @cached_property
    def memo(self) -> dict[Hashable, Any]:
        """What `once` has computed; a plain attribute, since it is read for every object of every decision."""
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, perhaps with other values, which has computed nothing yet."""
        made = super().model_copy(update=update, deep=deep)
        made.__dict__.pop("memo", None)
        return made

    def once(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """What follows from the policy and a key alone, computed once: a policy never changes."""
        known = self.memo
        if key not in known:
            if len(known) >= _MAX_KNOWN:
                known.clear()
            known[key] = compute()
        found: _T = known[key]
        return found

    @property
    def known(self) -> frozenset[str]:
        """The actions that existed when it was accepted."""
        return self._actions

    def in_force(self, action: str) -> bool:
        """Whether its grants of an action count: the action existed when it was accepted."""
        return action in self._actions

    def waiting(self, circle: str | None = None) -> tuple[str, ...]:
        """The actions it grants, to a circle or to anyone, that need another acceptance."""
        # A circle does not see the grants of sessions that act for it.
        grants = (*self.circles.values(), self.attend) if circle is None else filter(None, [self.circle(circle)])
        granted = {action for grant in grants for action in grant.actions}
        return tuple(name for name in ACTIONS if name in granted - self._actions)

    def accepted_for(self, actions: Iterable[str]) -> Policy:
        """The same policy, as accepted when only these actions existed."""
        made = self.model_copy()
        made._actions = frozenset(actions)  # noqa: SLF001 - its own
        return made

    def frozen_by(self, ordered: Iterable[OrderedFreeze]) -> Policy:
        """The same policy with the freezes that operators ordered, and no others of theirs. They only restrict."""
        made = self.model_copy()
        made._ordered = tuple(ordered)  # noqa: SLF001 - its own
        return made

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """Its own freezes, and those that operators ordered."""
        return (*self.freeze, *self._ordered)

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the file's bytes, as `sha256sum` prints it."""
        return self._digest

    def circle(self, name: str | None) -> CircleRules | None:
        """A circle's grants; None for a circle that the policy does not name."""
        return self.circles.get(name) if name else None

    def cluster_name(self, name: str | None = None) -> str | None:
        """The given name, if the policy has that cluster, or the name of the only one."""
        if name is None:
            return next(iter(self.clusters)) if len(self.clusters) == 1 else None
        return name if name in self.clusters else None

    def budgets(self, circle: str | None) -> tuple[Budget, ...]:
        """How many requests a peer of a circle, and all its peers together, may send in a time."""
        rules = self.circle(circle)
        if rules is None:
            return ()
        of_peer, of_circle = rate(rules.peer_rate), rate(rules.rate)
        return (
            Budget(f"circles.{circle}.peer_rate", *of_peer, shared=False),
            Budget(f"circles.{circle}.rate", *of_circle, shared=True),
        )

    def service_account(self, circle: str, cluster: str | None = None) -> str:
        """A circle's Kubernetes identity in a cluster, as the API server names it."""
        rules = self.clusters.get(self.cluster_name(cluster) or "", _NO_CLUSTER)
        return f"system:serviceaccount:{rules.service_accounts}:circle-{circle}"

    def helm_account(self, circle: str, cluster: str | None = None) -> str:
        """The identity that Helm has for a circle in a cluster: it may read every Secret where Helm may work."""
        return f"{self.service_account(circle, cluster)}-helm"

    def root_of(self, path: str) -> RootRules | None:
        """The root that decides about a path: the longest one above it, and the first of equal ones."""
        above = [root for root in self.tree.roots if is_within(path, root.path)]
        return max(above, key=lambda root: 0 if root.path == "." else len(root.path), default=None)

    @property
    def proposes(self) -> bool:
        """Whether any change may become a pull request."""
        ways = (self.tree.write, self.tree.fallback, *(root.write for root in self.tree.roots))
        return "pull-request" in ways

    def write_of(self, paths: Iterable[str]) -> Write:
        """How a change of these paths gets to the branch: the strictest way of their roots."""
        roots = (self.root_of(path) for path in paths)
        ways = [root.write if root and root.write else self.tree.write for root in roots]
        return max(ways, key=WRITES.index, default=self.tree.write)

    def clusters_of(self, root: RootRules | None) -> tuple[str, ...]:
        """The clusters to which a root is delivered; every one where it names none."""
        if root is None or not root.is_delivered or not root.by_cluster:
            return ()
        return (root.cluster,) if root.cluster else tuple(self.clusters)

    def place_of(self, path: str, cluster: str) -> str | None:
        """The place where a path becomes live: a workspace or a zone, or else the cluster of the request.

        Returns:
            None where the path is below a root of zones or workspaces, and policy names none for it.
        """
        root = self.root_of(path)
        if root is None or root.by_cluster:
            return cluster
        if root.delivery == "terraform":
            return workspace_of(path, self.workspaces)
        return zone_of(path, self.zones)

    def delivery_at(self, root: RootRules, place: str) -> str:
        """What makes a root's content live at a place: a zone may say that others do."""
        zone = self.zones.get(place) if root.delivery == "dns" else None
        return "external" if zone is not None and zone.backend == "external" else root.delivery

    def zone_file_of(self, path: str) -> str | None:
        """The zone whose records a file holds; None where it is below no root of zones."""
        root = self.root_of(path)
        return zone_of(path, self.zones) if root is not None and root.delivery == "dns" else None

    def delivery_of(self, place: str) -> str | None:
        """The delivery of a zone or workspace, by its name; None for any other place."""
        if place in self.workspaces:
            return "terraform"
        zone = self.zones.get(place)
        return None if zone is None else "external" if zone.backend == "external" else "dns"

    def grants_place(self, circle: str | None, place: str) -> bool:
        """Whether a zone or workspace is there and granted to a circle."""
        rules = self.circle(circle)
        return rules is not None and place in (*rules.zones, *rules.workspaces) and self.delivery_of(place) is not None

    def other_places(self, app: str) -> tuple[str, ...]:
        """The zones and workspaces that an app's files are of; none for one that runs in a cluster."""
        if self.by_cluster(app):
            return ()
        found = (self.place_of(path, "") for path in (self.apps.get(app) or AppRules()).files())
        return _all([[place] for place in found if place])

    def by_cluster(self, app: str, environment: str | None = None) -> bool:
        """Whether an app runs in a cluster; else its files are those of workspaces or zones."""
        paths = (self.apps.get(app) or AppRules()).files(environment)
        roots = [root for path in paths if (root := self.root_of(path))]
        if not self.clusters and all(root.is_others for root in roots or self.tree.roots):
            return False
        return not roots or any(root.by_cluster for root in roots)

    def homes(self, app: str, environment: str | None = None) -> tuple[str, ...]:
        """The clusters where an app may run: its environment's, else its own, else those of the roots of its files.

        Args:
            app: its name, also of one that has no section.
            environment: one of its environments; None where none is named.
        """
        return self.once(("homes", app, environment), lambda: self._homes(app, environment))

    def _homes(self, app: str, environment: str | None) -> tuple[str, ...]:
        rules = self.apps.get(app) or AppRules()
        if environment is None and rules.environments:
            return _all(self.homes(app, name) for name in rules.environments)
        chosen = rules.environments.get(environment or "")
        if named := (chosen and chosen.cluster) or rules.cluster:
            return (named,)
        paths = rules.files(environment)
        roots = [self.root_of(path) for path in paths] if paths else self.tree.roots
        found = _all(map(self.clusters_of, roots))
        return found or (tuple(self.clusters) if len(self.clusters) == 1 else ())

    def home(self, app: str, environment: str | None = None, cluster: str | None = None) -> str | None:
        """The cluster that an action about an app is for; None where it is not known, or not one of the app's."""
        homes = self.homes(app, environment)
        if cluster is not None:
            return cluster if cluster in homes else None
        return homes[0] if len(homes) == 1 else None

    def owner_of(self, path: str) -> str | None:
        """Who owns a path by [[owners]]: see `policy.owners`."""
        return nearest(((pattern, one.owner) for one in self.owners for pattern in one.paths), path)

    def owner_of_app(self, name: str) -> str | None:
        """Who owns an app of the catalogue: as its section says, or else the one owner of all files that it names."""
        rules = self.apps.get(name)
        if rules is None or rules.owner is not None:
            return rules.owner if rules else None
        # A folder is owned like what is in it.
        owners = {self.owner_of(path) or self.owner_of(f"{path}/.") for path in rules.paths}
        return owners.pop() if len(owners) == 1 else None

    def is_of(self, app: str, peer: str, circle: str | None) -> bool:
        """Whether an app of the catalogue is a peer's: its owner by name, whose circle reaches the app's namespaces.

        A peer of the same name in another circle owns nothing there.
        """
        if self.owner_of_app(app) != peer or self.circle(circle) is None:
            return False
        return all(self.reaches(circle, namespace) for namespace in self.apps[app].namespaces())

    def holds_objects_of(self, root: RootRules, cluster: str) -> bool:
        """Whether a root's files are manifests that are applied to a cluster."""
        return root.holds_objects and root.cluster in (None, cluster)

    def settings_of(self, app: str) -> Mapping[str, SettingRules]:
        """What `configure` may set of an app: the settings that every app has, and those of its section."""
        rules = self.apps.get(app)
        return _BUILT_IN | (rules.settings if rules else {})

    def setting(self, app: str, name: str) -> SettingRules | None:
        """A setting of an app."""
        return self.settings_of(app).get(name)

    def new_file(self, cluster: str) -> tuple[str, str] | None:
        """The layout and the root of a new object's file in a cluster; None where no one has said it.

        A cluster whose manifests are all below one root has the layout of the first edition.
        """
        roots = [root.path for root in self.tree.roots if self.holds_objects_of(root, cluster)]
        layout = self.tree.new or (FIRST_LAYOUT if len(roots) == 1 else None)
        if not layout or not roots:
            return None
        return layout, next((root for root in roots if is_within(layout, root)), roots[0])

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every delivery of the tree's roots with each of its places; none while the policy names no cluster."""
        return _all([(root.delivery, place) for place in self.clusters_of(root)] for root in self.tree.roots)

    def reaches(self, circle: str | None, namespace: str) -> bool:
        """Whether a circle is granted a namespace; protected ones never are."""
        rules = self.circle(circle)
        return rules is not None and self.within(rules, namespace)

    def within(self, grant: GrantRules, namespace: str) -> bool:
        """Whether a namespace is granted; protected ones never are."""
        if any(protected(namespace, c.service_accounts) for c in self.clusters.values()):
            return False
        return any(matches(pattern, namespace) for pattern in grant.namespaces) and not protected(namespace, "")

    def granted(self, circle: str | None, pull_secret: str) -> bool:
        """Whether a pull secret exists and is granted to a circle."""
        rules = self.circle(circle)
        return rules is not None and pull_secret in rules.pull_secrets and pull_secret in self.pull_secrets


def _all(several: Iterable[Iterable[_T]]) -> tuple[_T, ...]:
    """The items of all of them, each once."""
    return tuple(dict.fromkeys(chain.from_iterable(several)))


def digest_of(text: str) -> str:
    """The digest of a policy's text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def load(text: str) -> Policy:
    """Read the content of infra.toml as a policy, complete and consistent: every name in it has a section.

    Raises:
        InfraError: `policy-invalid`, with up to five wrong keys and what is wrong with each, and no value.
    """
    if len(text.encode()) > _MAX_BYTES:
        raise InfraError("policy-invalid", "The policy is larger than 1 MiB.")
    if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):  # tomllib reads a dotted key in quadratic time
        raise InfraError("policy-invalid", f"A line of the policy has more than {_MAX_DOTS} dots.")
    try:
        # As JSON, so that strict types take a TOML array for a tuple, and still no "3" for 3.
        data = json.dumps(tomllib.loads(text), default=str)
    except tomllib.TOMLDecodeError as error:
        raise InfraError("policy-invalid", f"The policy is not TOML: {one_line(str(error))}.") from None
    except RecursionError:
        raise InfraError("policy-invalid", "The policy is nested too deeply.") from None
    try:
        policy = Policy.model_validate_json(data)
    except ValidationError as error:
        unknown, wrong = problems(error, "the file", PLAIN)
        _refuse([f"{where} is no key of the policy" for where in unknown] + wrong)
    _refuse(list(faults(policy)))
    policy._digest = digest_of(text)  # noqa: SLF001 - set once, here, and no key of the file
    return policy


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InfraError("policy-invalid", f"{listed(problems)}.")
