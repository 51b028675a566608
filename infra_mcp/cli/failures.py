"""The failures of `connect`, which must not import `errors` before there is one."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; typing takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from infra_mcp.errors import InfraError


def failure(code: str, what: str, next_step: str | None = None) -> InfraError:
    """An `InfraError`."""
    from infra_mcp.errors import InfraError  # noqa: PLC0415 - see above

    return InfraError(code, what, next_step=next_step)


def lost_answer(what: str = "The server ended before it answered; what was asked may go on.") -> InfraError:
    """The error that answers requests whose server or session is gone."""
    step = "Look before sending it again: get_request(id), or search_audit for what was asked last."
    return failure("server-unreachable", what, step)


def raise_refusal(answer: dict[str, Any]) -> None:
    """Raise what a JSON-RPC answer refuses, if it does.

    Raises:
        InfraError: what the server says; `internal` for an error that is not one of ours.
    """
    error = answer.get("error")
    if not isinstance(error, dict):
        return
    from infra_mcp.codes import CODES  # noqa: PLC0415 - see above
    from infra_mcp.errors import InfraError  # noqa: PLC0415 - see above

    data = error.get("data")
    if isinstance(data, dict) and data.get("code") in CODES:
        raise InfraError.from_data(data)
    raise InfraError("internal", f"The server answered: {str(error.get('message', ''))[:300]}")


def report(error: Exception) -> InfraError:
    """Print an `InfraError` on stderr and return it; raise any other exception."""
    from infra_mcp.cli.output import fail  # noqa: PLC0415 - see above
    from infra_mcp.errors import InfraError  # noqa: PLC0415 - see above

    if not isinstance(error, InfraError):
        raise error
    fail(False, error)
    return error
