"""Which policy is in force: the text that an operator accepted, not the current file.

The ledger keeps the accepted text, so that a change of the file does nothing until an operator accepts its digest. A
deployment may pin a digest instead: then the file is in force while it has exactly that digest.

A policy grants the actions that existed when it was accepted; later actions need a new acceptance. An acceptance of the
first edition names no actions, and is of those of that edition.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS, FIRST_EDITION
from infra_mcp.model.budget import Budget
from infra_mcp.model.peer import Caller
from infra_mcp.policy.grammar import LongDuration, Moment, seconds
from infra_mcp.policy.policy import Policy, digest_of, load
from infra_mcp.policy.restrictions import FreezeMatch, OrderedFreeze

if TYPE_CHECKING:
    from infra_mcp.ledger import Ledger

_MAX_BYTES = 2**20
_NAME = "infra.toml"
MAX_FREEZE: Final = timedelta(days=366)  # that an operator orders
_ORDERED: Final = "ordered-"  # how the ids of ordered freezes begin
_MAX_ORDERED: Final = 100
_FREEZES: Final = TypeAdapter(tuple[OrderedFreeze, ...])


class Pending(NamedTuple):
    """A file that differs from the policy in force."""

    digest: str  # of the file now
    in_force: str | None  # the digest in force; None for none
    problem: str = ""  # why the file cannot be accepted


class PolicyInForce:
    """The policy in force, refreshed from the ledger or the pinned file.

    Args:
        file: infra.toml.
        ledger: where acceptances are stored.
        pin: the deployment's digest (`sha256:…`), which then is the only acceptance; after a `+`, with commas, the
            actions that it accepts beside those of the first edition.

    Raises:
        InfraError: `invalid-argument`: the pin names an unknown action.
    """

    def __init__(self, file: Path, ledger: Ledger, pin: str | None = None) -> None:
        self._file = file
        self._ledger = ledger
        self._pin, _, more = (pin or "").partition("+")
        self._pinned_actions = FIRST_EDITION | set(filter(None, more.split(",")))
        if unknown := self._pinned_actions - set(ACTIONS):
            what = f"The policy pin names an unknown action: {', '.join(sorted(unknown))[:200]}."
            raise InfraError("invalid-argument", what, next_step=f"The actions are {', '.join(ACTIONS)}.")
        self._policy: Policy | None = None  # with the freezes that operators ordered
        self._base: Policy | None = None  # as accepted
        self._ordered: tuple[OrderedFreeze, ...] = ()
        self._fault: InfraError | None = None
        self._changed = anyio.Event()

    def changed(self) -> anyio.Event:
        """An event that is set when another policy, or none, is in force."""
        return self._changed

    def current(self) -> Policy:
        """The policy in force, as of the last refresh.

        Raises:
            InfraError: `policy-not-accepted`, when none is; `policy-invalid`, when this version cannot read it.
        """
        if self._policy is None:
            raise self._fault or InfraError("policy-not-accepted", "No version of infra.toml has been accepted.")
        return self._policy

    def budgets(self, circle: str | None) -> tuple[Budget, ...]:
        """How many requests a peer of a circle may send in a time, and all its peers; nothing without a policy."""
        return self._policy.budgets(circle) if self._policy else ()

    async def refresh(self) -> None:
        """Read the acceptance and the ordered freezes again. Errors are raised by `current`, not here."""
        base, fault = None, None
        try:
            base = await self._pinned() if self._pin else await self._recorded()
        except InfraError as error:
            fault = error
        ordered: tuple[OrderedFreeze, ...] = ()
        try:
            ordered = _read(await self._ledger.freezes())
        except ValidationError:  # of a later version: nothing may change while it is not known what is frozen
            base, fault = None, InfraError("policy-invalid", "The freezes that operators ordered cannot be read.")
        if base is not self._base or ordered != self._ordered:
            self._policy = base.frozen_by(ordered) if base is not None else None
            self._changed.set()
            self._changed = anyio.Event()
        self._base, self._ordered, self._fault = base, ordered, fault

    @property
    def ordered(self) -> tuple[OrderedFreeze, ...]:
        """The freezes that operators ordered and did not lift, also those that are over."""
        return self._ordered

    async def freeze(
        self, by: Caller, *, until: datetime, match: FreezeMatch, reason: str, now: datetime
    ) -> OrderedFreeze:
        """Order a freeze, from now on. It is in force at once, and needs no acceptance: it only restricts.

        Args:
            by: the operator, as the channel identified them.
            until: its end, with its offset.
            match: what it is about; everything by default.
            reason: for those who are refused.
            now: the present, with its offset.

        Raises:
            InfraError: `policy-denied`, for any other caller; `invalid-argument`: it would end before it begins, or the
                most there may be are ordered.
        """
        _require_operator(by, "order a freeze", "freeze.order")
        if not now + timedelta(seconds=1) <= until <= now + MAX_FREEZE:  # it is kept by the second
            what = f"A freeze lasts a second at least, and ends within {MAX_FREEZE.days} days."
            raise InfraError("invalid-argument", what)
        number = 0
        about = match.model_dump(mode="json", exclude_none=True)
        if self._ledger.masker.mask(json.dumps(about)) != json.dumps(about):
            raise InfraError("invalid-argument", "A pattern looks like a secret, which is not stored.")

        def add(known: list[dict[str, Any]], last: int) -> list[dict[str, Any]]:
            nonlocal number
            left = [one for one, read in zip(known, _read(known), strict=True) if read.until > now]
            if len(left) >= _MAX_ORDERED:
                raise InfraError("invalid-argument", f"There are {_MAX_ORDERED} ordered freezes; lift one first.")
            number = last + 1  # never one again: who lifts an old one by its id lifts no other
            made = {"id": f"{_ORDERED}{number}", "from": _text(now), "until": _text(until), "reason": reason}
            return [*left, made | {"by": by.name, "match": about}]

        await self._ledger.change_freezes(add, by.name, f"Changes are frozen until {_text(until)}: {reason}")
        await self.refresh()
        return next(one for one in self._ordered if one.id == f"{_ORDERED}{number}")

    async def unfreeze(self, by: Caller, name: str | None) -> tuple[str, ...]:
        """Lift a freeze that an operator ordered, or all of them; those of the policy stay. Returns their ids.

        Raises:
            InfraError: `policy-denied`, for any other caller; `not-found`: none of that id, or none at all, is ordered.
        """
        _require_operator(by, "lift a freeze", "freeze.order")
        lifted: list[str] = []

        def remove(known: list[dict[str, Any]], _: int) -> list[dict[str, Any]]:
            lifted[:] = [one["id"] for one in known if name in {None, one["id"]}]
            if not lifted:
                what = "No operator ordered such a freeze." if name else "No operator ordered a freeze."
                step = "A freeze of infra.toml ends as it says, or with another accepted policy."
                raise InfraError("not-found", what, next_step=step)
            return [one for one in known if one["id"] not in lifted]

        await self._ledger.change_freezes(remove, by.name, f"Freeze lifted: {name or 'all that were ordered'}")
        await self.refresh()
        return tuple(lifted)

    async def _recorded(self) -> Policy | None:
        known = await self._ledger.accepted_policy()
        if known is None:
            return None
        digest, text = known
        noted = await self._ledger.accepted_actions(digest)
        actions = FIRST_EDITION if noted is None else noted
        if self._base is not None and (self._base.digest, self._base.known) == (digest, actions):
            return self._base
        if digest_of(text) != digest:
            raise InfraError("policy-not-accepted", "The policy in the ledger does not match its digest.")
        return load(text).accepted_for(actions)

    async def _pinned(self) -> Policy:
        if self._base is not None and self._base.digest == self._pin:
            return self._base
        text = await self.read()
        if digest_of(text) != self._pin:
            what = "infra.toml does not match the pinned digest."
            raise InfraError("policy-not-accepted", what, next_step="Pin the file's digest, or restore the file.")
        return load(text).accepted_for(self._pinned_actions)

    async def pending(self) -> Pending | None:
        """The file, if it differs from the policy in force.

        Raises:
            InfraError: `policy-invalid`, when the file cannot be read.
        """
        text = await self.read()
        digest = digest_of(text)
        in_force = self._policy.digest if self._policy else None
        if digest == in_force:
            return None
        try:
            self._acceptable(text)
        except InfraError as error:
            return Pending(digest, in_force, error.what)
        return Pending(digest, in_force)

    async def accept(self, digest: str, by: Caller) -> Policy:
        """Put the file in force, if it still has the digest that the operator saw; returns the policy.

        Args:
            digest: the digest to accept, as `pending` or `sha256sum` returns it.
            by: the operator, as the channel identified them.

        Raises:
            InfraError: `policy-denied`, for any other caller or under a pin; `policy-invalid`, when the file is no
                policy or contains what looks like a secret; `policy-not-accepted`, when the file has another digest.
        """
        _require_operator(by, "accept a policy", "policy.accept")
        if self._pin:
            what = "This deployment pins the policy's digest, so no policy can be accepted here."
            raise InfraError("policy-denied", what, next_step="Change the pin where the server is deployed.")
        text = await self.read()
        if digest_of(text) != digest:
            what = "infra.toml has changed since, so nothing was accepted."
            raise InfraError("policy-not-accepted", what, next_step="Read the file again and accept its new digest.")
        policy = self._acceptable(text)
        await self._ledger.accept_policy(digest, text, by.name, ACTIONS)
        await self.refresh()
        if self._fault is not None:
            raise self._fault
        return policy

    def _acceptable(self, text: str) -> Policy:
        policy = load(text)
        if self._ledger.masker.mask(text) != text:
            # The ledger keeps no secrets, so it could not keep this text as it is.
            what = "The policy contains what looks like a secret."
            raise InfraError("policy-invalid", what, next_step="Remove it from infra.toml; policy only names secrets.")
        return policy

    async def read(self) -> str:
        """The text of the file; see `read_policy`."""
        return await to_thread.run_sync(read_policy, self._file)


def _require_operator(by: Caller, what: str, rule: str) -> None:
    if not by.operator:
        raise InfraError("policy-denied", f"Only an operator can {what}.", next_step="Ask an operator.", rule=rule)


def end_of(text: str, now: datetime) -> datetime:
    """The end of a freeze: a moment with its offset, or a duration from now such as `4h`.

    Raises:
        InfraError: `invalid-argument`: it is neither.
    """
    try:
        return now + timedelta(seconds=seconds(TypeAdapter(LongDuration).validate_python(text)))
    except ValidationError:
        pass
    try:
        return TypeAdapter(Moment).validate_python(text)
    except ValidationError:
        what = "The end is a moment with its offset, as 2026-12-20T18:00:00+01:00, or a duration, as 4h."
        raise InfraError("invalid-argument", what) from None


def _read(freezes: list[dict[str, Any]]) -> tuple[OrderedFreeze, ...]:
    return _FREEZES.validate_json(json.dumps(freezes))  # as JSON, so that strict types take a list for a tuple


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def read_policy(file: Path) -> str:
    """The text of infra.toml, which others may push: links are not followed, and the read never blocks.

    Raises:
        InfraError: `policy-invalid`: there is no such regular file of at most 1 MiB of text.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                data = opened.read(_MAX_BYTES + 1)
                if len(data) <= _MAX_BYTES:
                    return data.decode("utf-8")
    except FileNotFoundError:
        what = f"There is no {file.name}" + (" in the repository." if file.name == _NAME else ".")
        raise InfraError("policy-invalid", what, next_step="Write one: `infra-mcp init`.") from None
    except UnicodeDecodeError:
        raise InfraError("policy-invalid", f"{file.name} is not text in UTF-8.") from None
    except OSError as error:
        what = "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise InfraError("policy-invalid", f"{file.name} cannot be read: {what}.") from None
    raise InfraError("policy-invalid", f"{file.name} is no regular file of at most 1 MiB.")
