"""The settings of apps that two commits have differently: versions, replicas and what policy declares. Blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from infra_mcp.actions.settings import spot_at
from infra_mcp.engine.entry_pairs import Side
from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.lenient import as_text
from infra_mcp.repository.locator.places import Place
from infra_mcp.text import one_line

_SHOWN = 200  # characters of a value
_Key = tuple[str, str, str]  # app, setting, and where in the app it is; environments may get other names


@dataclass(frozen=True)
class SettingChange:
    """A setting of an app in one environment."""

    app: str
    environment: str | None
    setting: str  # `version`, `chart`, `replicas`, or a name of policy
    before: str | None  # None: it was not there
    after: str | None
    at: str  # the place that decides, as infra.toml has it
    spots: frozenset[str]  # every place that sets it, also those that are masked, and the digests beside them
    namespaces: frozenset[str] = frozenset()
    owner: str | None = None

    @property
    def is_version(self) -> bool:
        """Whether it is the version of an image, which the commit sets to another one."""
        return self.setting == "version" and self.after is not None

    @property
    def unpinned(self) -> bool:
        """Whether an image was pinned by a digest, and is not any more."""
        return self.is_version and "@" in (self.before or "") and "@" not in self.now

    @property
    def now(self) -> str:
        """Its value after; empty where it is gone."""
        return self.after or ""

    def shown(self) -> dict[str, Any]:
        """As `check` returns it."""
        names = ("app", "environment", "setting", "before", "after", "at", "owner")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Held:
    environment: str | None
    value: str
    at: str
    spots: frozenset[str]
    namespaces: frozenset[str]


def setting_changes(policy: Policy, before: Side, after: Side, paths: Collection[str]) -> Iterator[SettingChange]:
    """Every setting that differs, by app and environment.

    Args:
        policy: declares settings, and owners.
        before: one commit.
        after: another one.
        paths: the files that differ.
    """
    files = frozenset(paths)
    old, new = ({**_found(side, files), **_declared(policy, side, files)} for side in (before, after))
    for key in sorted(old.keys() | new.keys(), key=repr):
        was, now = old.get(key), new.get(key)
        if (was and was.value) == (now and now.value):
            continue
        held = now or was
        if held is None:  # pragma: no cover - it is in one of them
            raise AssertionError
        app, setting, _ = key
        yield SettingChange(
            app,
            held.environment,
            setting,
            was.value if was else None,
            now.value if now else None,
            held.at,
            held.spots,
            held.namespaces,
            policy.owner_of_app(app) or policy.owner_of(held.at.partition("#")[0]),
        )


def _found(side: Side, files: frozenset[str]) -> dict[_Key, _Held]:
    """What the repository itself shows: of the apps that read one of the files."""
    found: dict[_Key, _Held] = {}
    for app, instances in side.census.apps.items():
        for one in instances:
            for unit in one.units:
                if unit.path in files or not files.isdisjoint(unit.entry.files):
                    for setting, label, held in _of_unit(unit, one.environment):
                        where = f"{unit.entry.root} {unit.entry.cluster} {unit.entry.environment} {unit} {label}"
                        found.setdefault((app, setting, where), held)
    return found


def _of_unit(unit: Unit, environment: str | None) -> Iterator[tuple[str, str, _Held]]:
    spaces = frozenset({unit.namespace} if unit.namespace else ())
    for hold in unit.holds:
        decides = hold.decides
        value = decides.version + (f"@{decides.pinned}" if decides.pinned else "")
        spots = frozenset(str(spot) for place in hold.places for spot in _spots(place))
        yield hold.setting, hold.label, _Held(environment, one_line(value, _SHOWN), str(decides.spot), spots, spaces)
    for spot in unit.decides_replicas[-1:]:
        value = one_line(as_text(spot.value), _SHOWN)
        yield "replicas", "", _Held(environment, value, str(spot), frozenset({str(spot)}), spaces)


def _spots(place: Place) -> Iterator[Spot]:
    yield place.spot
    if place.digest is not None:
        yield place.digest


def _declared(policy: Policy, side: Side, files: frozenset[str]) -> dict[_Key, _Held]:
    """What policy declares, at each place in one of the files."""
    found: dict[_Key, _Held] = {}
    for app, rules in policy.apps.items():
        for name, setting in rules.settings.items():
            for at in (at for at in setting.places if at.path in files):
                try:
                    spot = spot_at(side.tree, app, name, at)
                except InfraError:
                    continue  # it is not there in this commit
                value = one_line(as_text(spot.value), _SHOWN)
                homes = [env for env, its in rules.environments.items() if at.path in its.paths]
                home = homes[0] if len(homes) == 1 else None
                spots = frozenset({str(spot)})
                found[app, name, str(at)] = _Held(home, value, str(spot), spots, rules.namespaces(home))
    return found
