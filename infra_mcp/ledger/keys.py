"""Random keys that belong to a ledger and must not lie in it: `keys.json`, mode 0600, beside it."""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra_mcp.errors import InfraError

MASKING = "masking"  # markers of masked secrets
SECRETS = "secrets"  # keyed hashes of pull secrets
MESSAGES = "messages"  # keyed hashes of what peers said to each other
LEDGER = "ledger"  # which ledger these keys belong to; written once the ledger exists

_SIZE = 32


class Keys:
    """The keys of one state directory. A key is made when it is first asked for, and then never changes.

    Args:
        directory: the state directory; None keeps the keys in memory only, for a ledger that is there too.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = directory / "keys.json" if directory else None
        self._kept: dict[str, str] = {}

    def key(self, name: str) -> bytes:
        """The key of that name: 32 random bytes.

        Raises:
            InfraError: `ledger-unavailable`, when the file cannot be read or written, or is not ours. It is never made
                anew then: that would silently void every keyed hash.
        """
        found = self.peek(name)
        if found is None:
            self.put(name, secrets.token_bytes(_SIZE))
            found = self.peek(name)
        if found is None:  # pragma: no cover - put keeps what it is given
            raise _damaged()
        return found

    def peek(self, name: str) -> bytes | None:
        """The key if there is one.

        Raises:
            InfraError: `ledger-unavailable`, as for `key`.
        """
        held = self._load().get(name)
        if held is None:
            return None
        try:
            return base64.b64decode(held, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise _damaged() from error

    def put(self, name: str, value: bytes) -> None:
        """Keep a key, unless there is one of that name.

        Raises:
            InfraError: `ledger-unavailable`, when it cannot be written, or those of a ledger that is there are lost.
        """
        with self._locked():
            kept = self._load()
            if name in kept:
                return
            if not kept and self._has_ledger():
                raise lost()
            kept[name] = base64.b64encode(value).decode()
            self._save(kept)

    def _has_ledger(self) -> bool:
        """Whether a ledger lies beside, whose keys these would have been."""
        ledger = self._file.with_name("ledger.sqlite3") if self._file else None
        return ledger is not None and ledger.is_file() and ledger.stat().st_size > 0

    def _load(self) -> dict[str, str]:
        if self._file is None:
            return dict(self._kept)
        try:
            kept = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise _damaged() from error
        if not isinstance(kept, dict):
            raise _damaged()
        return kept

    def _save(self, kept: dict[str, str]) -> None:
        if self._file is None:
            self._kept = kept
            return
        draft = self._file.with_name(f"keys.json.{os.getpid()}")
        try:
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(kept, indent=1, sort_keys=True).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)
        except OSError as error:
            raise InfraError("ledger-unavailable", f"keys.json cannot be written: {error.strerror}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._file.with_name("keys.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise InfraError("ledger-unavailable", f"keys.json cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def lost() -> InfraError:
    """The error of a ledger whose keys are not there: with new ones no keyed hash in it would compare."""
    return InfraError(
        "ledger-unavailable",
        "keys.json beside the ledger is lost, or has lost this ledger's keys.",
        next_step="An operator restores keys.json from a backup, or moves the ledger away to begin a new one.",
    )


def _damaged() -> InfraError:
    return InfraError(
        "ledger-unavailable",
        "keys.json beside the ledger cannot be read as keys.",
        next_step="An operator restores it from a backup; without it, hashes of secrets no longer compare.",
    )
