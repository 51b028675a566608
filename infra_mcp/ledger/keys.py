"""Random keys that belong to a ledger and must not be in it: `keys.json`, mode 0600, beside it."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from infra_mcp.errors import InfraError

MASKING = "masking"  # markers of masked secrets
MESSAGES = "messages"  # keyed hashes of messages between peers
LEDGER = "ledger"  # which ledger these keys belong to; written once the ledger exists


class Keys:
    """The keys of one state directory. A key is made when it is first asked for, and then never changes.

    Args:
        directory: the state directory; None keeps the keys in memory only, for a ledger that is there too.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = directory / "keys.json" if directory else None
        self._kept: dict[str, bytes] = {}

    @classmethod
    def looked_at(cls, directory: Path) -> Self:
        """The keys of a state directory as they are now; a new one is kept in memory only.

        Raises:
            InfraError: `ledger-unavailable`, as for `key`.
        """
        copy = cls(None)
        copy._kept = cls(directory)._load()  # noqa: SLF001 - its own
        return copy

    def key(self, name: str) -> bytes:
        """The key of that name: 32 random bytes.

        Raises:
            InfraError: `ledger-unavailable`, when the file cannot be read or written, or is not ours. No new key is
                made then: that would silently void every keyed hash.
        """
        return self.peek(name) or self.put(name, secrets.token_bytes(32))

    def peek(self, name: str) -> bytes | None:
        """The key if there is one.

        Raises:
            InfraError: `ledger-unavailable`, as for `key`.
        """
        return self._load().get(name)

    def put(self, name: str, value: bytes) -> bytes:
        """Keep a key, unless there is one of that name; returns the one kept.

        Raises:
            InfraError: `ledger-unavailable`, when it cannot be written, or those of a ledger that is there are lost.
        """
        with self._locked():
            kept = self._load()
            if name not in kept:
                ledger = self._file.with_name("ledger.sqlite3") if self._file else None
                if not kept and ledger and ledger.is_file() and ledger.stat().st_size:
                    raise lost()
                kept[name] = value
                self._save(kept)
            return kept[name]

    def _load(self) -> dict[str, bytes]:
        if self._file is None:
            return self._kept
        try:
            kept = json.loads(self._file.read_bytes())
            return {name: base64.b64decode(value, validate=True) for name, value in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InfraError(
                "ledger-unavailable",
                "keys.json beside the ledger is damaged.",
                next_step="An operator restores it from a backup; without it, hashes of secrets no longer compare.",
            ) from error

    def _save(self, kept: dict[str, bytes]) -> None:
        if self._file is None:
            return
        draft = self._file.with_name(f"keys.json.{os.getpid()}")
        content = {name: base64.b64encode(value).decode() for name, value in kept.items()}
        with _writing():
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        with _writing():
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._file.with_name("keys.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfraError("ledger-unavailable", f"keys.json cannot be written: {error.strerror}.") from error


def lost() -> InfraError:
    """The error of a ledger whose keys are not there: with new ones no keyed hash in it would compare."""
    return InfraError(
        "ledger-unavailable",
        "keys.json beside the ledger is lost, or has lost this ledger's keys.",
        next_step="An operator restores keys.json from a backup, or moves the ledger away to begin a new one.",
    )
