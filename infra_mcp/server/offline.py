"""The operator's methods, backup and restore without a server, while owning the state directory.

So a newcomer can add peers and accept the policy before the first `serve`. Nothing here reaches a cluster or the
repository.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.backup import restore, save
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.findings import findings
from infra_mcp.policy.policy import load
from infra_mcp.server.operator import OPERATOR, Operator
from infra_mcp.server.ownership import owned
from infra_mcp.settings import Settings


async def call(settings: Settings, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Carry out one operator method.

    Raises:
        InfraError: `server-running` when a server started meanwhile, and the method's own errors.
    """
    with owned(settings.state_dir):
        ledger = await Ledger.open_in(settings.state_dir)
        try:
            policy = PolicyInForce(settings.policy_file, ledger)
            await policy.refresh()
            return await Operator(ledger, policy).call(OPERATOR, method, params)
        finally:
            await ledger.aclose()


async def checked(settings: Settings, text: str) -> dict[str, Any]:
    """`operator/policy.check`, also where there is no ledger: then nothing is said of the peers that it names.

    Raises:
        InfraError: `policy-invalid`, and as for `call`.
    """
    if (settings.state_dir / "ledger.sqlite3").exists():
        return await call(settings, "operator/policy.check", {"text": text})
    policy = load(text)
    return {"policy": policy.digest, "findings": [one._asdict() for one in findings(policy, datetime.now(UTC))]}


async def on_ledger(settings: Settings, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Carry out one operator method on a ledger that is there: none is made.

    Raises:
        InfraError: `not-found`, and as for `call`.
    """
    if not (settings.state_dir / "ledger.sqlite3").exists():
        raise InfraError(
            "not-found", "There is no ledger, and so no stored request.", next_step="Start the server once."
        )
    return await call(settings, method, params)


async def backup_offline(settings: Settings, file: str) -> dict[str, Any]:
    """Back up without opening the ledger, so that one of an older schema is saved unchanged.

    Raises:
        InfraError: `server-running`, and as for `save`.
    """
    with owned(settings.state_dir):
        return await save(settings.state_dir, file)


async def restored(settings: Settings, file: Path) -> dict[str, Any]:
    """Restore a backup into a state directory that has no ledger.

    Raises:
        InfraError: `server-running`; `invalid-argument`, when there is a ledger or the file is no backup; `not-found`,
            `ledger-newer`, `ledger-unavailable`.
    """
    with owned(settings.state_dir):
        made = await restore(file, settings.state_dir)
    return {"state_dir": str(settings.state_dir), "events": made.events, "head": made.head}
