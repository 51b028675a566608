"""At the start: whether the server's token at the forge has the rights that proposals need, and none beyond them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from infra_mcp.engine.repositories import once_there
from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from infra_mcp.engine.run import Dependencies

_log = logging.getLogger(__name__)


async def forge_rights(deps: Dependencies) -> str | None:
    """What is missing and what is too much, as sentences; empty where nothing is, None where nothing is proposed.

    While the forge is away it is asked again and again. Nothing is refused for it: the forge refuses by itself what the
    token may not do.
    """
    try:
        policy = deps.policy()
        if not policy.proposes:
            return None
        forge = await deps.forge()
        ask = partial(forge.rights, policy.tree.branch, merges=policy.forge.merge == "auto")
        found = await once_there(ask, partial(_log.info, "%s"))
    except InfraError as error:
        return f"The rights at the forge cannot be checked: {error.what}"
    except Exception:  # noqa: BLE001 - our own fault must not end the server
        _log.exception("The rights at the forge cannot be checked")
        return None
    # A server that pushes has the right to do so on purpose.
    said = [*found.missing, *(found.excess if policy.tree.write == "pull-request" else ())]
    return f"{forge.shown}: {' '.join(said)}" if said else ""
