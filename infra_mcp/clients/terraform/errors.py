"""Why a run of OpenTofu or Terraform failed, as it says itself."""

from __future__ import annotations

from collections.abc import Callable

from infra_mcp.clients.terraform.stream import Diagnostic, Lock, Stream
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.text import one_line

_REASON = 1_200  # characters of the program's own text
_STALE = frozenset({"Saved plan is stale", "Saved plan does not match the given state"})


class TerraformError(Exception):
    """A command that failed.

    Args:
        command: `plan`, `apply`, …
        code: its exit code; negative: the signal that ended it.
        stream: what it said.
        other: the end of what it printed besides.
    """

    def __init__(self, command: str, code: int, stream: Stream, other: str = "") -> None:
        super().__init__(command, code)
        self.command, self.code, self.stream = command, code, stream
        self.other = other.strip() or stream.other

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Its errors."""
        return self.stream.errors

    @property
    def lock(self) -> Lock | None:
        """The lock that was in its way."""
        return next((lock for one in self.diagnostics if (lock := one.lock)), None)

    @property
    def is_stale(self) -> bool:
        """Whether a saved plan was refused because the state changed since: nothing was written."""
        return any(one.summary in _STALE for one in self.diagnostics)

    def reason(self, mask: Callable[[str], str]) -> str:
        """Its own words in one line, without secrets."""
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        text = "; ".join(str(one) for one in self.diagnostics) or self.other or f"it ended with {self.code}"
        return one_line(mask(text), _REASON)

    def translate(self, where: str, mask: Callable[[str], str]) -> InfraError:
        """The same as an error of the product.

        Args:
            where: the workspace, for people.
            mask: hides secrets.
        """
        if self.lock is not None:
            what = f"The state of {where} is locked by {one_line(mask(str(self.lock)), _REASON)}."
            return Unavailable("workspace-locked", what)
        return InfraError("plan-failed", f"{where}: {self.command} failed: {self.reason(mask).rstrip('.')}.")
