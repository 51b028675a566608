"""From an instance and the value of a setting to what is written where."""

from __future__ import annotations

from collections.abc import Sequence

from infra_mcp.errors import InfraError
from infra_mcp.repository.census.apps import Census, Instance
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.locator.automation import automation, autoscaler
from infra_mcp.repository.locator.version import Located, require_own, unread
from infra_mcp.repository.partial import same
from infra_mcp.repository.scalars import Json
from infra_mcp.text import one_line

_SHOWN = 100  # characters of a value


def locate_replicas(census: Census, instance: Instance, count: int) -> Located:
    """What to write so that an instance has so many pods.

    Raises:
        InfraError: `not-in-repository`: nothing sets them; `ambiguous-setting`: several of its units do; `automation`:
            an autoscaler does; `shared-place`.
    """
    found = [(unit, spots) for unit in instance.units if (spots := unit.decides_replicas)]
    units = ", ".join(map(str, instance.units))
    for unit in instance.units:
        if by := autoscaler(census.index, unit.kind, unit.name, unit.namespace):
            raise InfraError("automation", f"{unit} is scaled by {by}, which would set its own number.")
    if not found:
        files = ", ".join(sorted({unit.path for unit in instance.units}))
        raise InfraError("not-in-repository", f"{units} ({files}) sets no replicas.")
    if len(found) > 1:
        places = ", ".join(str(spots[-1]) for _, spots in found)
        raise InfraError("ambiguous-setting", f"{units}: replicas stand in several places: {places}.")
    decides = found[0][1][-1]
    if isinstance(decides.value, str) and not decides.value.isdecimal():
        what = f"{decides} holds {one_line(decides.value, _SHOWN)}, and the repository does not say what that is."
        raise InfraError("not-in-repository", what, next_step="Set the number of pods there by hand, or its variable.")
    done = locate_value(census, instance, found[0][1], _like(decides.value, count))
    done.notes += unread(instance)
    return done


def locate_value(census: Census, instance: Instance, spots: Sequence[Spot], value: Json) -> Located:
    """What to write so that the last of these places, which decides, has a value; the masked ones stay and are named.

    Raises:
        InfraError: `shared-place`, `automation`.
    """
    decides = spots[-1]
    done = Located(former=str(decides.value), version=str(value))
    if not same(decides.value, value):
        require_own(census, instance, decides)
        if by := automation(census.index, decides):
            raise InfraError("automation", f"{decides} is written by {by}, which would undo the change.")
    done.add([(decides, value)])
    done.notes += [f"{one} is masked by {decides} and stays at {one.value}." for one in spots[:-1]]
    return done


def _like(now: Json, count: int) -> Json:
    """A number as what stands there is written: a text, where a substitution holds one."""
    return str(count) if isinstance(now, str) else count
