"""Who is there: open connections and calls under way, so that a server started on demand knows when to leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class ConnectionCounter:
    """Counts visits. One for each server."""

    def __init__(self) -> None:
        self._there = 0
        self._changed = anyio.Event()

    @property
    def present(self) -> bool:
        """Whether somebody is there now."""
        return self._there > 0

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Be there as long as the block lasts."""
        self._there += 1
        self._change()
        try:
            yield
        finally:
            self._there -= 1
            self._change()

    async def absent(self, seconds: float) -> None:
        """Return when nobody has been there for that long, counted from now or from when the last one left."""
        while True:
            changed = self._changed
            if self._there:
                await changed.wait()
                continue
            with anyio.move_on_after(seconds):
                await changed.wait()
            if changed is self._changed:
                return

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
