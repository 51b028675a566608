"""The one error family of the product, with its stable codes.

Every failure a user, a peer or a model sees is an `InfraError`: a stable code, what is wrong, and what to do next.
Libraries' exceptions are translated where they arise (`clients/`). Messages never contain a secret, and never repeat
an argument that was refused for its form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from infra_mcp.codes import CODES
from infra_mcp.text import one_line

_MAX_SENTENCE: Final = 4_000  # characters, for the sake of quoted texts


class InfraError(Exception):
    """A failure with a stable code.

    Args:
        code: one of `CODES`.
        what: what is wrong with which object, in one sentence, without secrets.
        next_step: what to do next; by default the code's usual advice.
        rule: the policy rule that decided, if any.
        retry_after: in how many seconds the same may pass, where that is known.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        next_step: str | None = None,
        rule: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        info = CODES[code]
        self.what = one_line(what, _MAX_SENTENCE)
        super().__init__(self.what)
        self.code = code
        self.next_step = one_line(next_step or info.next_step, _MAX_SENTENCE)
        self.rule = rule
        self.retry_after = retry_after
        self.exit = info.exit

    def of_step(self, name: str) -> InfraError:
        """The same failure, which says in which step of a request it is."""
        kind = type(self) if type(self).__init__ is InfraError.__init__ else InfraError
        return kind(self.code, f"Step {name}: {self.what}", next_step=self.next_step, rule=self.rule)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The error that `as_dict` gave; `internal` where this version does not know its code."""
        code = data.get("code")
        known = code if isinstance(code, str) and code in CODES else "internal"
        again = {"retry_after": data["retry_after"]} if "retry_after" in data else {}
        return cls(known, str(data.get("what", "")), next_step=data.get("next"), rule=data.get("rule"), **again)

    def __str__(self) -> str:
        """The whole error as one line."""
        return f"{self.code}: {self.what} Next: {self.next_step}"

    def as_dict(self) -> dict[str, Any]:
        """The same as data, for structured answers."""
        data: dict[str, Any] = {"code": self.code, "what": self.what, "next": self.next_step}
        more = {"rule": self.rule, "retry_after": self.retry_after}
        return data | {name: value for name, value in more.items() if value}


class Locked(InfraError):  # noqa: N818 - as Moved
    """Another git process holds a lock that is needed: nothing was done, and the lock may be free later."""


class Unavailable(InfraError):  # noqa: N818 - as Moved
    """A server did not answer, so whether it did what was asked is unknown: look again later."""


class Moved(Exception):  # noqa: N818 - a signal to plan again, not a failure that users see
    """An object or branch that a plan was made on has moved, named for the record; the pipeline plans again."""


class Raced(Moved):
    """Another push to the branch came first; what it changed may be of no concern here."""
