"""What a forge's event does: it wakes what waits for the forge, and a new tag can be the release notice of a peer.

An event is a hint: what it says about a merge or a check is read again at the forge or in git by those it wakes. A new
tag becomes the text that policy has for it, sent by the peer that policy names, through the same door as the peer's own
messages. The headers of an event are not signed, so its body alone says what it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from infra_mcp.clients.token_file import read_token
from infra_mcp.engine.signals import PROPOSALS
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.policy.releases import render, version_of

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.mesh.limits import Limits
    from infra_mcp.mesh.notify import Releases
    from infra_mcp.policy.sections import HookRules

_MIN_KEY: Final = 16  # characters
_MAX_SEEN: Final = 10_000
_TAGS: Final = "refs/tags/"
_log = logging.getLogger(__name__)


class Hooks:
    """The hooks of the policy in force.

    Args:
        engine: for the policy, and to wake what waits.
        releases: where a peer's message to infra is taken.
        limits: of the messages of a peer.
    """

    def __init__(self, engine: Engine, releases: Releases, limits: Limits) -> None:
        self._engine = engine
        self._releases = releases
        self._limits = limits
        self._no_key = secrets.token_bytes(32)  # of hooks that are not there
        self._seen: OrderedDict[str, None] = (
            OrderedDict()
        )  # digests of events that woke what waits, the last at the end

    async def take(self, name: str, signature: str, body: bytes) -> str | None:
        """Take an event; the same body again does nothing again.

        Args:
            name: of the hook.
            signature: HMAC-SHA256 of the body with the hook's key, in hexadecimal digits.
            body: as it was sent.

        Returns:
            The id of the message that it became, if it became one.

        Raises:
            InfraError: `policy-denied`, the same for a hook that is not there and a signature that is not right;
                `invalid-argument` for a body that is no JSON object; `too-many`; `ledger-unavailable`.
        """
        rules = await to_thread.run_sync(self._authenticated, name, signature, body)
        if rules is None:
            raise InfraError("policy-denied", "There is no such hook, or the signature is not that of its key.")
        tag = new_tag(_parsed(body))
        digest = hashlib.sha256(name.encode() + b"\0" + body).hexdigest()
        if digest not in self._seen:  # one that is sent again and again must not make us ask the forge again and again
            self._engine.signals.wake(PROPOSALS)
        self._seen[digest] = None
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        version = version_of(rules.tags, tag) if tag is not None else None
        if version is None or rules.notify is None or rules.peer is None:
            return None
        return await self._notify(name, rules.peer, rules.circle, render(rules.notify, version), digest)

    async def _notify(self, name: str, peer: str, circle: str | None, text: str, digest: str) -> str:
        peers = await self._engine.ledger.find_peers(peer)
        if not any(one.role == "agent" and one.circle == circle for one in peers):
            what = f"The peer of hook {name} is not there any more."
            raise InfraError("policy-denied", what, next_step=f"infra-mcp peer add {peer} --circle {circle}")
        caller = Caller(name=peer, circle=circle, strength="token")
        await self._limits.message(caller)
        words = f"{text}\n\nby hook {name}, sha256 of hook and event: {digest}"
        taken = await self._releases.take(caller, text, words, self._limits, notify=f"notif-{digest[:24]}")
        return taken.id

    def _authenticated(self, name: str, signature: str, body: bytes) -> HookRules | None:
        """The hook's rules, where its key signed the body. It takes the same time without such a hook."""
        try:
            rules = self._engine.policy.current().hooks.get(name)
            key = _key(rules) if rules else self._no_key
        except InfraError as error:
            _log.warning("a hook cannot be used: %s", error)
            rules, key = None, self._no_key
        expected = hmac.new(key, body, hashlib.sha256).hexdigest()
        return rules if hmac.compare_digest(expected.encode(), signature.encode()) else None


def new_tag(event: dict[str, Any]) -> str | None:
    """The tag that an event says is new: of a published release, or pushed for the first time.

    Source: GitHub, "Webhook events and payloads", `release` and `push`; Gitea, `modules/structs/hook.go`,
    `ReleasePayload` and `PushPayload`.
    """
    release, ref = event.get("release"), event.get("ref")
    if isinstance(release, dict):
        tag = release.get("tag_name")
        return tag if isinstance(tag, str) and event.get("action") == "published" and not release.get("draft") else None
    is_new = _is_nothing(event.get("before")) and not _is_nothing(event.get("after"))
    return ref.removeprefix(_TAGS) if is_new and isinstance(ref, str) and ref.startswith(_TAGS) else None


def _is_nothing(commit: object) -> bool:
    """Whether it is the id that stands for no commit."""
    return isinstance(commit, str) and commit != "" and set(commit) == {"0"}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise InfraError("invalid-argument", "The body is not a JSON object.")
    return event


def _key(rules: HookRules) -> bytes:
    key = read_token(Path(rules.key_file))
    if len(key) < _MIN_KEY:
        what = f"{rules.key_file} holds a key of less than {_MIN_KEY} characters."
        raise InfraError("setup-failed", what, next_step="openssl rand -hex 32")
    return key.encode()
