"""What the command line may ask of a server beside the tools: no model ever sees these methods.

`operator/*` is for operators: the local one, who came without a token, and peers added as such. `infra/*` is for any
caller, within its circle. Without a server the same class works on the ledger directly, under the state lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from anyio import to_thread

from infra_mcp.engine.signals import IDENTITIES, PARKED_CHANGED
from infra_mcp.errors import InfraError
from infra_mcp.ledger.backup import save
from infra_mcp.ledger.vouching import CONFIRMED, signed
from infra_mcp.model.approval import Decided
from infra_mcp.model.names import alike
from infra_mcp.model.peer import Caller
from infra_mcp.policy.acceptance import MAX_FREEZE, end_of
from infra_mcp.policy.policy import Policy, load
from infra_mcp.server import policy_answers
from infra_mcp.server.answers import facts, object_trail, request_trail, scope
from infra_mcp.server.arguments import parse
from infra_mcp.server.new_tokens import NewPeer, PeerPlace, RenewedToken, sponsor_of
from infra_mcp.server.operator_parameters import (
    Decision,
    Digest,
    FreezeName,
    Heads,
    Limit,
    NewFile,
    NewFreeze,
    NoParameters,
    OperatorName,
    PageName,
    PolicyText,
    PolicyTrial,
    Resolution,
    Subject,
)
from infra_mcp.settings import surroundings

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.policy.acceptance import PolicyInForce

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[dict[str, Any]]])
# The caller on a socket connection without a token: the same user as the server, and no more is known.
OPERATOR = Caller(name="operator", circle=None, strength="same-user", operator=True)
_LOCAL = (OPERATOR.name, "reader")  # names of callers without a token
METHODS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {}


def _method(name: str) -> Callable[[Handler], Handler]:
    """Make a function of `Operator` a method; the model of its argument `given` reads the parameters."""

    def register(function: Handler) -> Handler:
        METHODS[name] = function
        return function

    return register


@dataclass(frozen=True)
class Operator:
    """The methods, on one ledger and policy; some need a server."""

    ledger: Ledger
    policy: PolicyInForce
    stop: Callable[[], None] | None = None  # stops the server
    health: Callable[[], dict[str, Any]] | None = None  # the server's health
    engine: Engine | None = None
    dashboard: Callable[[Caller, str], Awaitable[dict[str, Any]]] | None = None  # a link to a page, for a caller

    async def call(self, caller: Caller, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Carry out one method.

        Raises:
            InfraError: `not-found` for an unknown method, `policy-denied` for a caller who is no operator,
                `invalid-argument`, and the method's own errors.
        """
        if method not in METHODS:
            raise InfraError("not-found", "There is no such method.")
        if method.startswith("operator/") and not caller.operator:
            what = "Only an operator may do this."
            next_step = "Run `infra-mcp` without a token, or with that of a peer added with --operator."
            raise InfraError("policy-denied", what, next_step=next_step, rule="operator")
        handler = METHODS[method]
        return await handler(self, caller, parse(get_type_hints(handler)["given"], params))

    def _policy_now(self) -> Policy | None:
        try:
            return self.policy.current()
        except InfraError:
            return None

    @_method("operator/peer.add")
    async def peer_add(self, caller: Caller, given: NewPeer) -> dict[str, Any]:
        """Add a peer and issue its first token, which is shown this once; an existing peer gets one more.

        Raises:
            InfraError: `invalid-argument`, unless exactly one of circle and operator is given, and for a name that
                stands for the infra peer or for a local caller.
        """
        if (given.circle is None) != given.operator:
            raise InfraError("invalid-argument", "A peer belongs to one circle, or is an operator.")
        policy = self._policy_now()
        if any(alike(given.name, taken) for taken in (policy.peer.name if policy else "infra", *_LOCAL)):
            what = f"{given.name} is, or looks like, the name of the infra peer or of a caller without a token."
            raise InfraError("invalid-argument", what, next_step="Choose another name.")
        place = given.circle or ""
        new = await self.ledger.add_peer(given.name, place, operator=given.operator, by=caller)
        token = None
        if given.token:
            sponsor = sponsor_of(caller, given, operator=given.operator)
            token = await self.ledger.issue_token(given.name, place, by=caller, sponsor=sponsor, seconds=given.life)
        unknown = policy is not None and given.circle is not None and given.circle not in policy.circles
        note = "The policy in force has no such circle yet." if unknown else ""
        if given.operator and given.name in (await self.ledger.approvals.operators()).uncounted:
            note = f"Where a rule wants several approvals, {given.name} counts once others confirm: peer confirm."
        tokens = next(one.tokens for one in await self.ledger.find_peers(given.name) if one.circle == place)
        if not new and given.token:
            what = f"{given.name} exists already: this is an additional token, one of {tokens} that are valid."
            note = f"{what} `infra-mcp peer token {given.name}` revokes them all for a new one. {note}".rstrip()
        shown = given.model_dump(include={"name", "circle", "operator", "expires"})
        return shown | {"token": token, "new": new, "tokens": tokens, "note": note}

    @_method("operator/peer.list")
    async def peer_list(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """All peers with what is known of their tokens; for operators, whether they count among several approvals."""
        known = await self.ledger.approvals.operators()
        with suppress(InfraError):  # a ledger that takes no writes can still be looked at
            await self.ledger.note_uses()
        issued: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in await self.ledger.tokens():
            about = one.model_dump(mode="json", exclude={"peer", "circle"})
            issued.setdefault((one.peer, one.circle), []).append(about)
        found = []
        for peer in await self.ledger.peers():
            shown = peer.model_dump(mode="json") | {"issued": issued.get((peer.name, peer.circle), [])}
            if peer.role == "operator":
                shown |= {"counts": peer.name not in known.uncounted, "confirmed_by": known.vouchers(peer.name)}
            found.append(shown)
        return {"peers": found}

    @_method("operator/peer.confirm")
    async def peer_confirm(self, caller: Caller, given: OperatorName) -> dict[str, Any]:
        """Vouch for an operator, who counts where a rule wants several approvals once two who count have vouched.

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

    @_method("operator/peer.remove")
    async def peer_remove(self, caller: Caller, given: PeerPlace) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Remove a peer; its tokens end at once, and so do its requests that have not begun."""
        gone = await self.ledger.remove_peer(given.name, given.place)
        if self.engine is not None:
            self.engine.signals.wake(IDENTITIES, PARKED_CHANGED, *gone.signals)
        return {"removed": given.name, "ended": sorted(gone.ids)}

    @_method("operator/peer.token")
    async def peer_token(self, caller: Caller, given: RenewedToken) -> dict[str, Any]:
        """Issue a new token for a peer, shown this once; its earlier ones end at once, or after the overlap."""
        token, replaced = await self.ledger.renew_token(
            given.name,
            given.place,
            by=caller,
            sponsor=sponsor_of(caller, given, operator=await self._is_operator(given)),
            seconds=given.life,
            overlap=given.overlap_seconds,
        )
        if self.engine is not None:
            self.engine.signals.wake(IDENTITIES)
        ended = {"revoked": replaced} if given.overlap is None else {"revoked": 0, "overlapping": replaced}
        return {"name": given.name, "token": token, "expires": given.expires, "overlap": given.overlap} | ended

    async def _is_operator(self, given: PeerPlace) -> bool:
        """Whether the peer that is meant is an operator; of a name that several have, the ledger refuses to choose."""
        found = [one for one in await self.ledger.find_peers(given.name) if given.place in {None, one.circle}]
        return len(found) == 1 and found[0].role == "operator"

    @_method("operator/policy.show")
    async def policy_show(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """The policy in force, and whether the file differs."""
        shown: dict[str, Any] = {"in_force": None, "problem": "", "pending": None, "pending_problem": "", "waiting": []}
        try:
            policy = self.policy.current()
            shown |= {
                "in_force": policy.digest,
                "summary": policy_answers.summary(policy),
                "waiting": list(policy.waiting()),
            }
        except InfraError as error:
            shown["problem"] = str(error)
        accepted = await self.ledger.accepted_policy()
        shown["text"] = accepted[1] if accepted else ""
        try:
            if (pending := await self.policy.pending()) is not None:
                shown |= {"pending": pending.digest, "pending_problem": pending.problem}
        except InfraError as error:
            shown["pending_problem"] = str(error)
        return shown

    @_method("operator/policy.diff")
    async def policy_diff(self, caller: Caller, given: NoParameters) -> dict[str, Any]:
        """What accepting the file would change."""
        shown = await self.policy_show(caller, given)
        text = await self.policy.read()
        changes = await to_thread.run_sync(policy_answers.changes, shown["text"], text)
        remarks = [] if shown["pending_problem"] else map(str, await policy_answers.found(self.ledger, load(text)))
        same = {key: shown[key] for key in ("in_force", "pending", "pending_problem", "waiting")}
        return same | {"diff": changes, "remarks": list(remarks)}

    @_method("operator/policy.check")
    async def policy_check(self, caller: Caller, given: PolicyText) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """What in a policy does nothing, or more than it seems to; with what the ledger knows of its peers.

        Raises:
            InfraError: `policy-invalid`.
        """
        policy = await to_thread.run_sync(load, given.text)
        return {
            "policy": policy.digest,
            "findings": [one._asdict() for one in await policy_answers.found(self.ledger, policy)],
        }

    @_method("operator/policy.test")
    async def policy_test(self, caller: Caller, given: PolicyTrial) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """What a policy would decide otherwise on stored requests, newest first.

        Raises:
            InfraError: `policy-invalid`; `invalid-argument` for a time that is none.
        """
        return await policy_answers.trial(self.ledger, self._policy_now(), given)

    @_method("operator/policy.accept")
    async def policy_accept(self, caller: Caller, given: Digest) -> dict[str, Any]:
        """Put the file in force, if it still has this digest."""
        policy = await self.policy.accept(given.digest, caller)
        return {"in_force": policy.digest, "summary": policy_answers.summary(policy)}

    @_method("operator/freeze")
    async def freeze(self, caller: Caller, given: NewFreeze) -> dict[str, Any]:
        """Let nothing change from now on, beside what the policy freezes; work that has begun to write ends.

        Raises:
            InfraError: `invalid-argument`: the end is no moment or duration, is over, or is too far away.
        """
        now = datetime.now(UTC)
        until = end_of(given.until, now) if given.until is not None else now + MAX_FREEZE
        made = await self.policy.freeze(caller, until=until, match=given.match, reason=given.reason, now=now)
        return made.model_dump(mode="json", by_alias=True, exclude_none=True)

    @_method("operator/unfreeze")
    async def unfreeze(self, caller: Caller, given: FreezeName) -> dict[str, Any]:
        """Lift freezes that operators ordered.

        Raises:
            InfraError: `not-found`.
        """
        return {"lifted": list(await self.policy.unfreeze(caller, given.id))}

    @_method("operator/audit.verify")
    async def audit_verify(self, caller: Caller, given: Heads) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Check the chain, against the heads given."""
        report = await self.ledger.verify(given.heads, given.commits)
        return report.model_dump(mode="json") | {"heads_given": len(given.heads) + len(given.commits)}

    @_method("operator/audit.head")
    async def audit_head(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """The number of the newest event, and the audit head that it makes."""
        events, head = await self.ledger.newest()
        return {"events": events, "head": head}

    @_method("operator/health")
    async def show_health(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """The server's health."""
        return _of_server(self.health)()

    @_method("operator/surroundings")
    async def show_surroundings(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """What the server was started with, for `infra-mcp doctor`; of variables that may be secret the name alone."""
        return surroundings() | {"kubeconfig": str(_of_server(self.engine).settings.kubeconfig)}

    @_method("operator/shutdown")
    async def shutdown(self, caller: Caller, given: NoParameters) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Stop the server: it finishes the write in flight, records, and leaves."""
        _of_server(self.stop)()
        return {"stopping": True}

    @_method("operator/approve")
    async def decide(self, caller: Caller, given: Decision) -> dict[str, Any]:
        """Approve or deny one effect of a request that waits for it, and return the request.

        Raises:
            InfraError: `approval-mismatch` for another effect, `policy-denied` for one's own request, `not-found`;
                `signature-refused`.
        """
        engine = _of_server(self.engine)
        decided = Decided(approve=given.approve, way="cli", signature=given.signature, bypass=given.bypass or "")
        request = await engine.approve(caller, given.request_id, given.digest, decided)
        return (await facts(self.ledger, caller, request))[0]

    @_method("operator/resolve")
    async def resolve(self, caller: Caller, given: Resolution) -> dict[str, Any]:
        """Record that the caller has seen to what a request left, and how.

        Raises:
            InfraError: `not-found`; `invalid-argument`, when no person has to look at it, or one has.
        """
        await self.ledger.resolve(given.request_id, caller, given.reason)
        if self.engine is not None:
            self.engine.signals.wake(PARKED_CHANGED)
        return {"request": given.request_id, "resolved_by": caller.name, "reason": given.reason}

    @_method("operator/dashboard")
    async def open_dashboard(self, caller: Caller, given: PageName) -> dict[str, Any]:
        """A link that opens one session of the dashboard for the caller, once.

        Raises:
            InfraError: `setup-failed` where it is switched off; `not-found` for a page that there is not.
        """
        _of_server(self.engine)
        if self.dashboard is None:
            what, step = "This server has no dashboard.", "Start it again without INFRA_MCP_DASHBOARD=off."
            raise InfraError("setup-failed", what, next_step=step)
        return await self.dashboard(caller, given.page)

    @_method("operator/backup")
    async def back_up(self, caller: Caller, given: NewFile) -> dict[str, Any]:  # noqa: ARG002 - one form for all
        """Write ledger and keys into a new file, for this user only, while the server goes on."""
        return await save(_of_server(self.engine).settings.state_dir, given.file)

    @_method("infra/requests")
    async def requests(self, caller: Caller, given: Limit) -> dict[str, Any]:
        """The newest requests of the caller's circle; all for those who may look at all."""
        return {"requests": await facts(self.ledger, caller, *await self.ledger.recent(scope(caller), given.limit))}

    @_method("infra/trail")
    async def trail(self, caller: Caller, given: Subject) -> dict[str, Any]:
        """Every event of a request, or the requests about an object."""
        if given.request_id is not None and given.object is None:
            return await request_trail(self.ledger, caller, given.request_id)
        if given.object is not None and given.request_id is None:
            return await object_trail(self.ledger, caller, given.object, given.limit)
        raise InfraError("invalid-argument", "Name a request or an object.")


def _of_server(part: T | None) -> T:
    if part is None:
        raise InfraError("server-unreachable", "No server is running.")
    return part
