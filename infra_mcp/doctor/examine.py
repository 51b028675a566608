"""Runs the checks, side by side and each within its time, and gathers what they found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.kube import KubeError
from infra_mcp.doctor import checkout, cluster, exposure, identities, ledger, mesh, policy, reads, versions  # noqa: F401 - they register
from infra_mcp.doctor.finding import ANSWERS, CHECKS, SEE_ANSWERS, Check, Finding, Level, failed, skipped
from infra_mcp.doctor.look import Ask, Look, looking
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, unwrapped
from infra_mcp.settings import Settings, surroundings
from infra_mcp.text import harmless

_log = logging.getLogger(__name__)
_LONGEST = 1_000  # characters of one sentence


async def examine(
    settings: Settings,
    *,
    around: Mapping[str, Any] | None = None,
    ask: Ask | None = None,
    only: Collection[str] = (),
) -> list[dict[str, str]]:
    """Run the checks. Nothing is written: not here, not in a cluster, not at a remote.

    Args:
        settings: the places.
        around: the environment to judge where no server runs; that of this process when left out.
        ask: the running server's methods for operators; None where none runs.
        only: areas or ids of checks; all of them when empty.

    Returns:
        In the order of the table, for each finding `check`, `level`, `what` and `fix`; a check that found nothing has
        one entry, `pass`.
    """
    wanted = [one for one in CHECKS.values() if not only or one.id in only or one.area in only]
    connect = any(one.area == "cluster" for one in wanted)
    with unwrapped():
        async with looking(settings, around or surroundings(), ask, connect=connect) as look:
            found = await gather(partial(_run, one, look) for one in wanted)
    answers = next((findings for one, findings in zip(wanted, found, strict=True) if one.id == ANSWERS), [])
    away = any(one.level is Level.FAILED for one in answers)
    rows = []
    for one, findings in zip(wanted, found, strict=True):
        for finding in findings or [Finding(Level.PASS, one.title)]:
            repeats = away and finding.fix == SEE_ANSWERS
            level, what, fix = skipped(f"A cluster does not answer: see {ANSWERS}.") if repeats else finding
            rows.append({"check": one.id, "level": level.value, "what": harmless(what)[:_LONGEST], "fix": fix})
    return rows


async def _run(one: Check, look: Look) -> list[Finding]:
    found: list[Finding] = []
    again = f"infra-mcp doctor {one.id}"
    with anyio.move_on_after(one.seconds) as scope:
        try:
            found.extend([finding async for finding in one.run(look)])
        except KubeError as error:
            found.append(failed(error.translate("the check").what, again if error.status else SEE_ANSWERS))
        except InfraError as error:
            found.append(failed(f"{error.what} {error.next_step}", again))
        except Exception as error:  # noqa: BLE001 - one check's fault must not hide what the others find
            _log.exception("The check %s failed", one.id)
            found.append(failed(f"The check itself failed: {type(error).__name__}.", again))
    if scope.cancelled_caught:
        found.append(failed(f"It did not end within {one.seconds:g} s.", again))
    return found
