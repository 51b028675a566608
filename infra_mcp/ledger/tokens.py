"""Tokens of peers: shown once, kept as a hash, with their end, the person who answers for each, and their last use."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Repository, Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.identities import Identities, KnownToken
from infra_mcp.ledger.records import Token
from infra_mcp.ledger.vouching import signed
from infra_mcp.model.peer import Caller

USE_EVERY = 3600.0  # seconds between two notes of a token's use
_SHOWN = 8  # hexadecimal digits of a token's hash that name it
_PREFIX = "imcp_"
_ROWS, _PEERS = schema.tokens, schema.peers.c
_TOKENS = _ROWS.c
ITS = and_(_TOKENS.peer == _PEERS.name, _TOKENS.circle == _PEERS.circle)
VALID = or_(_TOKENS.expires.is_(None), _TOKENS.expires > bindparam("now"))
_OF_TOKEN = (
    select(_TOKENS.hash, _TOKENS.expires, _TOKENS.sponsor, schema.peers)
    .join(schema.peers, ITS)
    .where(_TOKENS.hash == bindparam("hash"))
)
_CIRCLES = select(_PEERS.circle).where(_PEERS.name == bindparam("name")).order_by(_PEERS.circle)
_USED = update(_ROWS).where(
    _TOKENS.hash == bindparam("which"), or_(_TOKENS.used.is_(None), _TOKENS.used < bindparam("before"))
)
_USED = _USED.values(used=bindparam("at"))


class Tokens(Repository):
    """The tokens of one ledger's peers. Where a circle may be left out, see `Peers`.

    Attributes:
        identities: recent look-ups of tokens and names.
    """

    identities: Identities

    @effect("ledger.token.issue")
    async def issue_token(
        self,
        name: str,
        circle: str | None = None,
        *,
        by: Caller | None = None,
        sponsor: str | None = None,
        seconds: float | None = None,
    ) -> str:
        """A new token for a peer, shown this once.

        Args:
            name: the peer's.
            circle: its circle.
            by: who asked for it.
            sponsor: the person who answers for it.
            seconds: after which it ends; None for a token without an end.
        """
        with self.identities.changing():
            return await self._database.write(
                lambda tx: self._issue(tx, name, the_circle(tx.connection, name, circle), by, sponsor, seconds)
            )

    @effect("ledger.token.renew")
    async def renew_token(
        self,
        name: str,
        circle: str | None = None,
        *,
        by: Caller | None = None,
        sponsor: str | None = None,
        seconds: float | None = None,
        overlap: float | None = None,
    ) -> tuple[str, int]:
        """Issue a new token in the place of a peer's earlier ones, in one transaction.

        Args:
            name: the peer's.
            circle: its circle.
            by: who asked for it.
            sponsor: the person who answers for it.
            seconds: after which it ends; None for a token without an end.
            overlap: for so many seconds the earlier tokens stay valid at most; None ends them at once.

        Returns:
            The token, shown this once, and how many valid ones it replaces.
        """

        def renew(tx: Tx) -> tuple[str, int]:
            own = the_circle(tx.connection, name, circle)
            replaced = _revoke(tx, name, own) if overlap is None else _limit(tx, name, own, clock.after(overlap))
            return self._issue(tx, name, own, by, sponsor, seconds), replaced

        with self.identities.changing():
            return await self._database.write(renew)

    @effect("ledger.token.revoke")
    async def revoke_tokens(self, name: str, circle: str | None = None) -> int:
        """End all tokens of a peer at once; returns how many there were."""
        with self.identities.changing():
            return await self._database.write(lambda tx: _revoke(tx, name, the_circle(tx.connection, name, circle)))

    async def tokens(self, around: float | None = None) -> list[Token]:
        """Every token there is, without the tokens themselves, by peer and age.

        Args:
            around: only those that end within so many seconds, or have ended as lately.
        """
        found = select(_ROWS).order_by(_TOKENS.peer, _TOKENS.circle, _TOKENS.created)
        if around is not None:
            found = found.where(_TOKENS.expires < clock.after(around), _TOKENS.expires > clock.after(-around))
        newest = select(_TOKENS.peer, _TOKENS.circle, func.max(_TOKENS.created).label("created"))
        newest = newest.group_by(_TOKENS.peer, _TOKENS.circle)

        def listed(connection: Connection) -> list[Token]:
            last = {(row.peer, row.circle): row.created for row in connection.execute(newest)}
            return [_shown(row, last) for row in connection.execute(found).mappings()]

        return await self._database.read(listed)

    async def note_uses(self) -> None:
        """Write down which tokens were used since; of each token once an hour at most, so that no call costs a write.

        Raises:
            InfraError: `ledger-unavailable`; what was used then is noted with the next call.
        """
        if used := dict(self.identities.used):
            await self._write_uses(used)
            for key, at in used.items():
                if self.identities.used.get(key) == at:
                    del self.identities.used[key]

    @effect("ledger.token.used")
    async def _write_uses(self, used: dict[str, str]) -> None:
        def note(tx: Tx) -> None:
            for key, at in used.items():
                tx.connection.execute(_USED, {"which": key, "at": at, "before": clock.after(-USE_EVERY, at)})

        await self._database.write(note)

    async def key_of_token(self, which: str) -> str | None:
        """The rest of a token's hash, by its beginning; None where there is no such token, or no more."""
        wanted = select(_TOKENS.hash).where(_TOKENS.hash.startswith(which, autoescape=True))
        found = await self._database.read(lambda connection: connection.execute(wanted).scalar())
        return None if found is None else str(found)[len(which) :]

    async def caller_for_token(self, token: str) -> Caller | None:
        """Who holds this token; None when it is not, or no longer, a peer's.

        Raises:
            InfraError: `token-expired`.
        """
        known = await self.identities.token(token, lambda: self._database.read(lambda one: _known(one, token)))
        if known is None:
            return None
        now = clock.now()
        if known.expires is not None and known.expires <= now:
            raise _expired(known.caller, known.expires)
        self.identities.used[known.hash] = now
        return known.caller

    def _issue(
        self, tx: Tx, name: str, circle: str, by: Caller | None, sponsor: str | None, seconds: float | None
    ) -> str:
        token = _PREFIX + secrets.token_urlsafe(32)
        until = None if seconds is None else clock.after(seconds)
        about = {"expires": until, "sponsor": written(self.masker, sponsor)}
        row = {"hash": _hash(token), "peer": name, "circle": circle, "created": clock.now()}
        tx.connection.execute(insert(_ROWS), row | about)
        known = {"token": row["hash"][:_SHOWN]} | {key: value for key, value in about.items() if value is not None}
        note(tx, "token-issued", name, circle, known | ({} if circle else signed(by)))
        return token


def the_circle(connection: Connection, name: str, circle: str | None) -> str:
    """The circle of the peer that is meant.

    Raises:
        InfraError: `not-found`, or `ambiguous-peer`, naming the circles.
    """
    found = [one for one in connection.execute(_CIRCLES, {"name": name}).scalars() if circle in {None, one}]
    if not found:
        raise InfraError("not-found", "There is no peer of that name.", next_step="`infra-mcp peer list` lists them.")
    if len(found) > 1:
        shown = ", ".join(one or "(operator)" for one in found)
        raise InfraError("ambiguous-peer", f"There is a peer {name} in each of these circles: {shown}.")
    return str(found[0])


def note(tx: Tx, kind: str, name: str, circle: str, data: dict[str, Any] | None = None, *, text: str = "") -> int:
    """Record an event about a peer; returns its number."""
    return append(tx, Entry(clock.now(), kind, name, circle or None, text, {"circle": circle} | (data or {})))[0]


def _of(name: str, circle: str) -> ColumnElement[bool]:
    return and_(_TOKENS.peer == name, _TOKENS.circle == circle)


def _revoke(tx: Tx, name: str, circle: str) -> int:
    ended = tx.connection.execute(delete(_ROWS).where(_of(name, circle))).rowcount
    note(tx, "tokens-revoked", name, circle, {"count": ended})
    return ended


def _limit(tx: Tx, name: str, circle: str, until: str) -> int:
    """Let a peer's tokens end at a time, unless they end before; those that have ended are gone."""
    own, now = _of(name, circle), clock.now()
    tx.connection.execute(delete(_ROWS).where(own, _TOKENS.expires <= now))
    left = tx.connection.execute(select(func.count()).select_from(_ROWS).where(own)).scalar_one()
    later = or_(_TOKENS.expires.is_(None), _TOKENS.expires > until)
    tx.connection.execute(update(_ROWS).where(own, later).values(expires=until))
    note(tx, "tokens-ending", name, circle, {"count": left, "until": until})
    return int(left)


def _known(connection: Connection, token: str) -> KnownToken | None:
    """The search is by hash, so its timing reveals nothing of the token; the comparison takes constant time anyway."""
    wanted = _hash(token)
    row = connection.execute(_OF_TOKEN, {"hash": wanted}).mappings().first()
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    named = {"name": row["name"], "circle": row["circle"] or None, "sponsor": row["sponsor"]}
    caller = Caller(strength="token", operator=row["role"] == "operator", **named)
    return KnownToken(caller, row["hash"], row["expires"])


def _expired(caller: Caller, at: str) -> InfraError:
    whose = f"--circle {caller.circle}" if caller.circle else "--operator"
    what = f"The token of {caller.name} expired at {at}."
    return InfraError("token-expired", what, next_step=f"An operator runs: infra-mcp peer token {caller.name} {whose}")


def _shown(row: Any, newest: dict[tuple[str, str], str]) -> Token:  # noqa: ANN401 - a row of `tokens`
    kept = {name: row[name] for name in ("peer", "circle", "created", "expires", "used", "sponsor")}
    ended = row["expires"] is not None and row["expires"] <= clock.now()
    replaced = newest[row["peer"], row["circle"]] > row["created"]
    return Token(id=row["hash"][:_SHOWN], expired=ended, replaced=replaced, **kept)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
