"""Texts as they come in: bounded, plain, whole. What is wrong with their meaning is told later, by an ack."""

from __future__ import annotations

import re

from infra_mcp.errors import InfraError
from infra_mcp.mesh.limits import MAX_TEXT

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check(text: str, argument: str) -> None:
    """Refuse what is no text, or too much of it.

    Args:
        text: as it came.
        argument: which argument it is, for the refusal.

    Raises:
        InfraError: `invalid-argument`.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InfraError("invalid-argument", f"{argument}: not text.", next_step="Send plain text.") from None
    if size > MAX_TEXT:
        what = f"{argument}: longer than {MAX_TEXT} bytes."
        raise InfraError("invalid-argument", what, next_step="Send fewer words, and where the rest can be read.")
    if _CONTROL.search(text):
        raise InfraError("invalid-argument", f"{argument}: holds control characters.", next_step="Send plain text.")
