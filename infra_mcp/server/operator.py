"""What the command line may ask of a server beside the tools: no model ever sees these.

`operator/*` is for the local operator alone, who came without a token; `infra/*` is for whoever the connection belongs
to, as far as its circle goes. Without a server the same class works on the ledger directly, under the state lock.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from anyio import to_thread
from pydantic import BaseModel, Field

from infra_mcp.engine.signals import IDENTITIES, PARKED_CHANGED
from infra_mcp.errors import InfraError
from infra_mcp.ledger.chain import Committed
from infra_mcp.ledger.vouching import CONFIRMED, signed
from infra_mcp.model.names import Circle, Frozen, PeerName, alike
from infra_mcp.model.peer import Caller
from infra_mcp.repository.commit import diff
from infra_mcp.server.arguments import parse
from infra_mcp.server.saving import saved
from infra_mcp.server.trails import facts, of_object, of_request, scope

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.policy.acceptance import PolicyInForce
    from infra_mcp.policy.policy import Policy

# Whoever opens the socket without a token. It is the same user as the server, and no more is known of it.
OPERATOR = Caller(name="operator", circle=None, strength="same-user", operator=True)
_LOCAL = (OPERATOR.name, "reader")  # names of callers without a token
_COMPARED = 4_000_000  # pairs of lines of two policies that are compared with context


class Nothing(Frozen):
    """No parameters."""


class Newcomer(Frozen):
    """A peer to add: of a circle, or an operator."""

    name: PeerName
    circle: Circle | None = None
    operator: bool = False


class Named(Frozen):
    """A peer that is there; where several have that name, its circle, or that it is the operator."""

    name: PeerName
    circle: Circle | None = None
    operator: bool = False

    @property
    def place(self) -> str | None:
        """The circle as the ledger knows it: empty for an operator, None where the name says enough."""
        return "" if self.operator else self.circle


class Person(Frozen):
    """An operator who is there."""

    name: PeerName


class Digest(Frozen):
    """The digest of a policy file, as it was looked at."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class Heads(Frozen):
    """Audit heads found elsewhere: in acks, and in commits."""

    heads: tuple[str, ...] = Field((), max_length=10_000)
    commits: tuple[Committed, ...] = Field((), max_length=10_000)


class Few(Frozen):
    """How many to list."""

    limit: int = Field(20, ge=1, le=200)


class Which(Frozen):
    """One request, or one object."""

    request_id: str | None = Field(None, max_length=64)
    object: str | None = Field(None, min_length=1, max_length=300)
    limit: int = Field(20, ge=1, le=200)


class Decided(Frozen):
    """What a person decided about one effect of one request."""

    request_id: str = Field(max_length=64)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    approve: bool


class Target(Frozen):
    """A file to make."""

    file: str = Field(min_length=1, max_length=4096)


class Operator:
    """The methods, on one ledger and policy.

    Args:
        ledger: where peers, tokens and events are.
        policy: the policy in force.
        stop: stops the server; None where there is none.
        health: how the server fares; None where there is none.
        engine: takes approvals; None where there is no server.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: PolicyInForce,
        *,
        stop: Callable[[], None] | None = None,
        health: Callable[[], dict[str, Any]] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.ledger = ledger
        self._policy = policy
        self._stop = stop
        self._health = health
        self._engine = engine

    async def call(self, caller: Caller, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Carry out one method.

        Raises:
            InfraError: `not-found` for an unknown method, `policy-denied` for a caller who is no operator,
                `invalid-argument`, and what the method itself may end in.
        """
        if method not in METHODS:
            raise InfraError("not-found", "There is no such method.")
        if method.startswith("operator/") and not caller.operator:
            what = "Only an operator may do this, and this caller is none."
            next_step = "Run `infra-mcp` without a token, or with that of a peer added with --operator."
            raise InfraError("policy-denied", what, next_step=next_step, rule="operator")
        name, model = METHODS[method]
        handler = cast("Callable[[Caller, BaseModel], Awaitable[dict[str, Any]]]", getattr(self, name))
        return await handler(caller, parse(model, params))

    async def peer_add(self, caller: Caller, given: Newcomer) -> dict[str, Any]:
        """Add a peer and give out its first token, which is shown this once; one that is there gets one more.

        Raises:
            InfraError: `invalid-argument`, unless exactly one of circle and operator is given; for a name that stands
                for the infra peer or for a local caller.
        """
        if (given.circle is None) != given.operator:
            raise InfraError("invalid-argument", "A peer is of one circle, or an operator.")
        if any(alike(given.name, taken) for taken in (self._infra(), *_LOCAL)):
            what = f"{given.name} is, or looks like, the name of the infra peer or of a caller without a token."
            raise InfraError("invalid-argument", what, next_step="Choose another name.")
        new = await self.ledger.add_peer(given.name, given.circle or "", operator=given.operator, by=caller)
        token = await self.ledger.issue_token(given.name, given.circle or "", by=caller)
        known = self._circles()
        strange = given.circle is not None and known is not None and given.circle not in known
        note = "The policy in force names no such circle yet." if strange else ""
        if given.operator and given.name in (await self.ledger.approvals.operators()).uncounted:
            note = f"Where a rule wants several approvals, {given.name} counts once others confirm: peer confirm."
        place = given.circle or ""
        tokens = next(one.tokens for one in await self.ledger.find_peers(given.name) if one.circle == place)
        if not new:
            what = f"{given.name} was there already: this is an additional token, of {tokens} that work."
            note = f"{what} `infra-mcp peer token {given.name}` revokes them all for a new one. {note}".rstrip()
        return {
            "name": given.name,
            "circle": given.circle,
            "operator": given.operator,
            "token": token,
            "new": new,
            "tokens": tokens,
            "note": note,
        }

    def _infra(self) -> str:
        try:
            return self._policy.current().peer.name
        except InfraError:
            return "infra"

    def _circles(self) -> frozenset[str] | None:
        try:
            return frozenset(self._policy.current().circles)
        except InfraError:
            return None

    async def peer_list(self, caller: Caller, given: Nothing) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """All peers, without their tokens; of operators, whether they count where a rule wants several."""
        known = await self.ledger.approvals.operators()
        found = []
        for peer in await self.ledger.peers():
            shown = peer.model_dump(mode="json")
            if peer.role == "operator":
                shown |= {"counts": peer.name not in known.uncounted, "confirmed_by": known.vouchers(peer.name)}
            found.append(shown)
        return {"peers": found}

    async def peer_confirm(self, caller: Caller, given: Person) -> dict[str, Any]:
        """Vouch for an operator, who counts where a rule wants several once two who count have.

        Raises:
            InfraError: `not-found`; `policy-denied` for oneself, and for a caller who does not count.
        """
        known, who = await self.ledger.approvals.operators(), signed(caller)["by"]
        if given.name not in known.there:
            step = "`infra-mcp peer list` lists them."
            raise InfraError("not-found", "There is no operator of that name.", next_step=step)
        if given.name in known.uncounted and who not in known.vouchers(given.name):
            if not known.may_vouch(who, given.name):
                what = f"{caller.name} cannot confirm {given.name}."
                step = "Another operator who counts does, by a token of their own."
                raise InfraError("policy-denied", what, next_step=step, rule="operator.confirm")
            await self.ledger.note(CONFIRMED, given.name, {"circle": "", "by": who})
            known = await self.ledger.approvals.operators()
        counts = given.name not in known.uncounted
        return {"name": given.name, "counts": counts, "confirmed_by": known.vouchers(given.name)}

    async def peer_remove(self, caller: Caller, given: Named) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Remove a peer; its tokens end at once, and so does what it asked for and has not begun."""
        gone = await self.ledger.remove_peer(given.name, given.place)
        if self._engine is not None:
            self._engine.signals.wake(IDENTITIES, PARKED_CHANGED, *gone.signals)
        return {"removed": given.name, "ended": sorted(gone.ids)}

    async def peer_token(self, caller: Caller, given: Named) -> dict[str, Any]:
        """Revoke a peer's tokens and give out a new one, which is shown this once."""
        revoked = await self.ledger.revoke_tokens(given.name, given.place)
        if self._engine is not None:
            self._engine.signals.wake(IDENTITIES)
        token = await self.ledger.issue_token(given.name, given.place, by=caller)
        return {"name": given.name, "token": token, "revoked": revoked}

    async def policy_show(self, caller: Caller, given: Nothing) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """The policy in force, and whether the file says something else."""
        shown: dict[str, Any] = {"in_force": None, "problem": "", "pending": None, "pending_problem": "", "waiting": []}
        try:
            policy = self._policy.current()
            shown |= {"in_force": policy.digest, "summary": _summary(policy), "waiting": list(policy.waiting())}
        except InfraError as error:
            shown["problem"] = str(error)
        accepted = await self.ledger.accepted_policy()
        shown["text"] = accepted[1] if accepted else ""
        try:
            pending = await self._policy.pending()
        except InfraError as error:
            shown["pending_problem"] = str(error)
        else:
            if pending is not None:
                shown |= {"pending": pending.digest, "pending_problem": pending.problem}
        return shown

    async def policy_diff(self, caller: Caller, given: Nothing) -> dict[str, Any]:
        """What accepting the file would change."""
        shown = await self.policy_show(caller, given)
        text = await self._policy.read()
        changes = await to_thread.run_sync(_changes, shown["text"], text)
        return {key: shown[key] for key in ("in_force", "pending", "pending_problem", "waiting")} | {"diff": changes}

    async def policy_accept(self, caller: Caller, given: Digest) -> dict[str, Any]:
        """Put the file in force, if it still has this digest."""
        policy = await self._policy.accept(given.digest, caller)
        return {"in_force": policy.digest, "summary": _summary(policy)}

    async def audit_verify(self, caller: Caller, given: Heads) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Check the chain, against the heads given."""
        report = await self.ledger.verify(given.heads, given.commits)
        return report.model_dump(mode="json") | {"heads_given": len(given.heads) + len(given.commits)}

    async def health(self, caller: Caller, given: Nothing) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """How the server fares."""
        if self._health is None:
            raise InfraError("server-unreachable", "No server is running.")
        return self._health()

    async def shutdown(self, caller: Caller, given: Nothing) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Stop the server: finish the write in flight, record, leave."""
        if self._stop is None:
            raise InfraError("server-unreachable", "No server is running.")
        self._stop()
        return {"stopping": True}

    async def decide(self, caller: Caller, given: Decided) -> dict[str, Any]:
        """Approve or deny one effect of a request that waits for it; where it stands then.

        Raises:
            InfraError: `approval-mismatch` for another effect, `policy-denied` for one's own request, `not-found`.
        """
        if self._engine is None:
            raise InfraError("server-unreachable", "No server is running, so nothing waits for an approval.")
        request = await self._engine.approve(caller, given.request_id, given.digest, approve=given.approve, way="cli")
        return facts(request, caller)

    async def backup(self, caller: Caller, given: Target) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Write ledger and keys into one new file, for this user only, while others go on writing the ledger.

        Raises:
            InfraError: `invalid-argument` for a path that is not a new file's, `ledger-unavailable`.
        """
        if self._engine is None:
            raise InfraError("server-unreachable", "No server is running.")
        return await saved(self._engine.settings, given.file)

    async def requests(self, caller: Caller, given: Few) -> dict[str, Any]:
        """The newest requests of the caller's circle; all for those who may look at all."""
        return {"requests": [facts(one, caller) for one in await self.ledger.recent(scope(caller), given.limit)]}

    async def trail(self, caller: Caller, given: Which) -> dict[str, Any]:
        """Every event of a request, or the requests about an object."""
        if given.request_id is not None and given.object is None:
            return await of_request(self.ledger, caller, given.request_id)
        if given.object is not None and given.request_id is None:
            return await of_object(self.ledger, caller, given.object, given.limit)
        raise InfraError("invalid-argument", "Name a request or an object.")


def _changes(old: str, new: str) -> str:
    """What changes between two policies, with context as far as that is quickly found."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) * len(after) > _COMPARED:
        return diff("infra.toml", old.encode(), new.encode())
    return "\n".join(difflib.unified_diff(before, after, "infra.toml (in force)", "infra.toml", lineterm=""))


def _summary(policy: Policy) -> dict[str, Any]:
    return {
        "peer": policy.peer.name,
        "branch": policy.tree.branch,
        "clusters": {name: rules.context for name, rules in policy.clusters.items()},
        "circles": {
            name: {
                "namespaces": list(rules.namespaces),
                "actions": list(rules.actions),
                "pull_secrets": list(rules.pull_secrets),
            }
            for name, rules in policy.circles.items()
        },
        "apps": {name: rules.owner for name, rules in policy.apps.items()},
        "rules": [rule.id for rule in policy.rules],
    }


METHODS: dict[str, tuple[str, type[BaseModel]]] = {
    "operator/peer.add": ("peer_add", Newcomer),
    "operator/peer.list": ("peer_list", Nothing),
    "operator/peer.remove": ("peer_remove", Named),
    "operator/peer.token": ("peer_token", Named),
    "operator/peer.confirm": ("peer_confirm", Person),
    "operator/policy.show": ("policy_show", Nothing),
    "operator/policy.diff": ("policy_diff", Nothing),
    "operator/policy.accept": ("policy_accept", Digest),
    "operator/audit.verify": ("audit_verify", Heads),
    "operator/approve": ("decide", Decided),
    "operator/backup": ("backup", Target),
    "operator/health": ("health", Nothing),
    "operator/shutdown": ("shutdown", Nothing),
    "infra/requests": ("requests", Few),
    "infra/trail": ("trail", Which),
}
