"""Which policy is in force: the text an operator accepted, never the file as it happens to lie there.

The file is where people write; the ledger holds the text that was accepted, and that text decides. So a change of the
file, by whoever can write to the repository, changes nothing until an operator has looked at its digest. A deployment
may pin a digest instead: then the file decides if it has exactly that digest, and nothing decides otherwise.

A policy grants the actions that there were when it was accepted: what a later version can do comes into force with the
next acceptance. An acceptance of the first edition says nothing of actions, and is of those that edition had.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Protocol

import anyio
from anyio import to_thread

from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.actions import ACTIONS, FIRST_EDITION
from infra_mcp.model.peer import Caller
from infra_mcp.policy.policy import Policy, digest_of, load

_LARGEST = 2**20  # bytes


class Accepted(Protocol):
    """The part of the ledger that remembers what was accepted."""

    masker: Masker

    async def accept_policy(self, digest: str, text: str, by: str, actions: Collection[str] | None) -> None:
        """Remember a text as accepted, and the actions that there were then, in one transaction."""

    async def accepted_policy(self) -> tuple[str, str] | None:
        """The digest and the text accepted last."""

    async def accepted_actions(self, digest: str) -> frozenset[str] | None:
        """The actions that there were when that digest was last accepted; None where that was not noted."""


class Pending(NamedTuple):
    """A file that says something else than what is in force."""

    digest: str  # of the file as it is now
    in_force: str | None  # of what decides now; None when nothing does
    problem: str = ""  # why the file could not be accepted as it is


class PolicyInForce:
    """The policy in force, refreshed from where acceptance is recorded.

    Args:
        file: infra.toml, as people edit it.
        ledger: where acceptance is recorded.
        pin: a digest (`sha256:…`) given by the deployment, which then is the only acceptance that counts; after a `+`,
            with commas, the actions beside the first edition's that it accepts.

    Raises:
        InfraError: `invalid-argument`: the pin names what is no action.
    """

    def __init__(self, file: Path, ledger: Accepted, pin: str | None = None) -> None:
        self._file = file
        self._ledger = ledger
        self._pin, _, more = (pin or "").partition("+")
        self._pinned_actions = FIRST_EDITION | set(filter(None, more.split(",")))
        if unknown := self._pinned_actions - set(ACTIONS):
            what = f"The policy pin names what is no action: {', '.join(sorted(unknown))[:200]}."
            raise InfraError("invalid-argument", what, next_step=f"The actions are {', '.join(ACTIONS)}.")
        self._policy: Policy | None = None
        self._fault: InfraError | None = None
        self._changed = anyio.Event()

    def changed(self) -> anyio.Event:
        """An event that is set when another policy comes into force, or none does any more."""
        return self._changed

    def current(self) -> Policy:
        """The policy in force, as of the last refresh.

        Raises:
            InfraError: `policy-not-accepted`, when none is; `policy-invalid`, when this version cannot read the one
                that was accepted.
        """
        if self._policy is None:
            raise self._fault or InfraError("policy-not-accepted", "No version of infra.toml has been accepted.")
        return self._policy

    async def refresh(self) -> None:
        """Look again at what was accepted. Never raises for what is found: `current` says it."""
        found, fault = None, None
        try:
            found = await self._pinned() if self._pin else await self._recorded()
        except InfraError as error:
            fault = error
        if found is not self._policy:
            self._changed.set()
            self._changed = anyio.Event()
        self._policy, self._fault = found, fault

    async def _recorded(self) -> Policy | None:
        known = await self._ledger.accepted_policy()
        if known is None:
            return None
        digest, text = known
        noted = await self._ledger.accepted_actions(digest)
        actions = FIRST_EDITION if noted is None else noted
        if self._policy is not None and (self._policy.digest, self._policy.known) == (digest, actions):
            return self._policy
        if digest_of(text) != digest:
            raise InfraError("policy-not-accepted", "The accepted policy in the ledger is not what was accepted.")
        return load(text).accepted_for(actions)

    async def _pinned(self) -> Policy:
        if self._policy is not None and self._policy.digest == self._pin:
            return self._policy
        text = await self.read()
        if digest_of(text) != self._pin:
            what = "infra.toml has not the digest this deployment pins."
            raise InfraError("policy-not-accepted", what, next_step="Pin the file's digest, or restore the file.")
        return load(text).accepted_for(self._pinned_actions)

    async def pending(self) -> Pending | None:
        """The file, if it says something else than what is in force.

        Returns:
            None when the file is what is in force.

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
        """Put the file in force, as far as it still has the digest the operator looked at.

        Args:
            digest: what the operator accepts, as `pending` or `sha256sum` shows it.
            by: who accepts; only operators may, and the channel knows who is one.

        Returns:
            The policy now in force.

        Raises:
            InfraError: `policy-denied`, for anyone else or under a pin; `policy-invalid`, when the file is no policy or
                holds what looks like a secret; `policy-not-accepted`, when the file has another digest by now.
        """
        if not by.operator:
            what = "Only an operator accepts a policy."
            raise InfraError("policy-denied", what, next_step="Ask an operator.", rule="policy.accept")
        if self._pin:
            what = "This deployment pins the policy's digest, so it cannot be accepted here."
            raise InfraError("policy-denied", what, next_step="Change the pin where the server is deployed.")
        text = await self.read()
        if digest_of(text) != digest:
            what = "infra.toml has another digest by now, so nothing was accepted."
            raise InfraError("policy-not-accepted", what, next_step="Look at the file again and accept what it is now.")
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
            what = "The policy holds what looks like a secret."
            raise InfraError("policy-invalid", what, next_step="Remove it from infra.toml; policy only names secrets.")
        return policy

    async def read(self) -> str:
        """The file as it is now; see `read_policy`."""
        return await to_thread.run_sync(read_policy, self._file)


def read_policy(file: Path) -> str:
    """The text of infra.toml, which lies where others may push to: one way to read it, for whoever does.

    Raises:
        InfraError: `policy-invalid`: it is not there, or no regular file of at most 1 MiB of text. A link is not
            followed, and nothing is waited for.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                data = opened.read(_LARGEST + 1)
                if len(data) <= _LARGEST:
                    return data.decode("utf-8")
    except FileNotFoundError:
        what = "There is no infra.toml in the repository."
        raise InfraError("policy-invalid", what, next_step="Write one: `infra-mcp init`.") from None
    except UnicodeDecodeError:
        raise InfraError("policy-invalid", "infra.toml is not text in UTF-8.") from None
    except OSError as error:
        what = "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise InfraError("policy-invalid", f"infra.toml cannot be read: {what}.") from None
    raise InfraError("policy-invalid", "infra.toml is no regular file of at most 1 MiB.")
