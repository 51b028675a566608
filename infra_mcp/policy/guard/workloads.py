"""What policy can require of a workload: resources, probes, no terminal, no token, labels; each fact on its own. Pure.

A mapping with a list of containers is a pod, in whichever kind it is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.marks import PREFIX
from infra_mcp.model.setting import amount_of
from infra_mcp.policy.guard import pod_rules as rules
from infra_mcp.policy.guard.pods import LISTS, Finding, step_of

CPU: Final = "cpu"
MEMORY: Final = "memory"
UNKNOWN: Final = "?"  # an amount that cannot be read
_PROBES: Final = {"livenessProbe": rules.LIVENESS, "readinessProbe": rules.READINESS}
_ENDS: Final = frozenset({"Never", "OnFailure"})  # restart policies of pods that are to end
_KEY: Final = re.compile(r"[-A-Za-z0-9._/]+")
_HUNDREDTHS: Final = 100


def workload(path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings of one mapping as a pod; none for a mapping that is not one."""
    if not any(key in node for key in LISTS):
        return
    if node.get("automountServiceAccountToken") is not False:
        yield Finding(rules.MOUNT, path, node.get("automountServiceAccountToken"))
    pod = node.get("resources")
    runs_on = node.get("restartPolicy") not in _ENDS
    for which in ("containers", "initContainers"):  # an ephemeral one has neither resources nor probes
        items = node.get(which)
        for container in items if isinstance(items, list) else ():
            if isinstance(container, dict):
                at = (*path, which, step_of(container))
                yield from _resources(at, container.get("resources"), pod)
                for key in ("stdin", "tty"):
                    if container.get(key) not in (None, False):
                        yield Finding(rules.TERMINAL, (*at, key), container[key])
                if runs_on and which == "containers":
                    yield from (Finding(rule, at, None) for key, rule in _PROBES.items() if not container.get(key))


def names(rendered: Mapping[str, Any]) -> Iterator[Finding]:
    """The keys of a workload's labels and annotations, as one fact each, by which a missing one is seen."""
    metadata = rendered.get("metadata")
    for which, rule in (("labels", rules.LABELS), ("annotations", rules.ANNOTATIONS)):
        given = metadata.get(which) if isinstance(metadata, dict) else None
        keys = [str(key) for key, value in given.items() if value] if isinstance(given, dict) else []
        known = tuple(sorted(key for key in keys if _KEY.fullmatch(key) and not key.startswith(PREFIX)))
        yield Finding(rule, ("metadata", which), known)


def _resources(path: FieldPath, own: object, pod: object) -> Iterator[Finding]:
    requests, limits = (_of(own, pod, which) for which in ("requests", "limits"))
    # Without a request the API server takes the limit for one.
    if lacking := [name for name in (CPU, MEMORY) if requests.get(name) is None and limits.get(name) is None]:
        yield Finding(rules.REQUESTS, path, " and ".join(lacking))
    for name, rule in ((CPU, rules.CPU_LIMIT), (MEMORY, rules.MEMORY_LIMIT)):
        if limits.get(name) is None:
            yield Finding(rule, path, None)
        asked = [amount_of(one[name]) for one in (requests, limits) if one.get(name) is not None]
        if asked:
            known = [one for one in asked if one is not None]
            # In the smallest unit, since the API server writes a quantity in another way.
            scale = 1000 if name == CPU else 1
            most = str(math.ceil(max(known) * scale)) if len(known) == len(asked) else UNKNOWN
            yield Finding(rules.AMOUNTS, path, f"{name} {most}")
            if (ratio := _ratio(asked)) not in ("", "1"):
                yield Finding(rules.RATIO, path, f"{name} {ratio}")


def _ratio(asked: list[Decimal | None]) -> str:
    """How many times the request the limit is, rounded up; empty where one of them is not set."""
    if len(asked) == 1:
        return ""
    request, limit = asked
    if request is None or limit is None or request <= 0:
        return UNKNOWN
    hundredths = math.ceil(limit / request * _HUNDREDTHS)
    return f"{Decimal(max(hundredths, _HUNDREDTHS)) / _HUNDREDTHS:f}"


def _of(own: object, pod: object, which: str) -> Mapping[str, Any]:
    """The requests or limits of a container, and of its pod where it names none."""
    found: dict[str, Any] = {}
    for given in (pod, own):
        several = given.get(which) if isinstance(given, dict) else None
        found |= {key: one for key, one in several.items() if one is not None} if isinstance(several, dict) else {}
    return found
