"""The protocol of back ends: how the records of a zone are read and written. Confirming them is the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from infra_mcp.clients.dns.server import Server
from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.dns.look import View
from infra_mcp.drivers.dns.records import Key


class Backend(Protocol):
    """One zone at the system that holds its records."""

    @property
    def server(self) -> Server:
        """The primary: the server that is asked what there is."""

    @property
    def marks(self) -> bool:
        """Whether marks of ownership are written with the records."""

    @property
    def resources(self) -> tuple[str, ...]:
        """What marks of external-dns may say that our records come from: our own objects."""

    async def look(self, context: Context, keys: Sequence[Key]) -> View:
        """Record sets as they are, and what stands beside them.

        Raises:
            Unavailable: that cannot be told now.
        """

    async def check(self, context: Context, share: Share, swaps: Sequence[Swap], absent: Sequence[Key]) -> Any:  # noqa: ANN401 - the back end's own
        """Check a change as far as that is possible without making it; what is returned goes to `write`.

        Raises:
            Moved: a record set is not as it was read.
            InfraError: it would be refused.
        """

    async def write(self, context: Context, own: Any, swaps: Sequence[Swap], absent: Sequence[Key]) -> None:  # noqa: ANN401 - the back end's own
        """Make a change, all of it or nothing.

        Raises:
            Moved: a record set is not as it was read; nothing was changed.
        """

    async def restore(self, context: Context, swaps: Sequence[Swap]) -> None:
        """Make a change that undoes one.

        Raises:
            Moved: a record set is not as it was read; nothing was changed.
        """
