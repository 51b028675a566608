"""From an instance and a version to what is written where: which places decide, which move along, which stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from infra_mcp.errors import InfraError
from infra_mcp.model.image import Image
from infra_mcp.repository.census.apps import Census, Instance
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.lenient import as_text
from infra_mcp.repository.locator.automation import automation
from infra_mcp.repository.locator.holds import Hold
from infra_mcp.repository.locator.places import Place, form_of, is_release
from infra_mcp.repository.scalars import Json

_MOVING = ("version", "chart", "revision", "app-version")  # a `version` is the first of these that there is
_NAMED = 5  # versions named in a message
_ALONG = frozenset({"revision", "app-version"})  # these follow the version where they say the same


@dataclass
class Located:
    """What to write for a setting."""

    sets: list[tuple[Spot, Json]] = field(default_factory=list)  # the values to write, also those that stand already
    notes: list[str] = field(default_factory=list)  # what a reader of the plan should know
    version: str = ""  # as it is written
    former: str = ""  # the version before
    images: tuple[str, ...] = ()  # the images that would run, in full

    def add(self, sets: Iterable[tuple[Spot, Json]]) -> None:
        """Add values to write, each place once."""
        known = {spot.key for spot, _ in self.sets}
        self.sets += [(spot, value) for spot, value in sets if spot.key not in known]


def locate(
    census: Census,
    instance: Instance,
    version: str,
    *,
    setting: str = "version",
    image: str = "",
    drop_digest: bool = False,
    declared: Sequence[Spot] = (),
) -> Located:
    """What to write so that an instance has a version.

    Args:
        census: of the repository.
        instance: the instance.
        version: the version, perhaps with a digest: `1.4.2@sha256:…`.
        setting: `version`, or `chart`.
        image: the image that is the app's, in full; empty where it is to be found.
        drop_digest: whether a digest that pins the image may go.
        declared: the places where policy says that the version stands.

    Raises:
        InfraError: `not-in-repository`: it holds no version; `ambiguous-setting`: several, and nothing says which;
            `digest-needed`; `automation`; `invalid-argument`: a digest where none can stand.
    """
    every = [hold for unit in instance.units for hold in unit.holds]
    if declared:
        chosen = [_declared(every, spot) for spot in declared]
        others = [hold for hold in every if hold not in chosen]
    else:
        chosen, others = _chosen(instance, every, setting, image)
    done = Located(former=chosen[0].version)
    tag, _, digest = version.partition("@")
    for hold in chosen:
        _set(census, instance, done, hold, tag, digest, drop_digest=drop_digest)
    for hold in others:
        if hold.setting in _ALONG and _same_version(hold.version, done.former) and chosen[0].setting not in _ALONG:
            _along(census, instance, done, hold)
        elif hold.setting == "revision" and hold.version:
            done.notes.append(f"{hold.label} ({hold.decides.spot}) stays at {hold.version}.")
        elif hold.setting == chosen[0].setting and hold.image == chosen[0].image:
            done.notes.append(f"{hold.label} stays at {hold.version or 'its version'}.")
    done.notes += unread(instance)
    return done


def unread(instance: Instance) -> list[str]:
    """What may set a value of an instance, too, and is not understood: only its build shows whether it does."""
    found = dict.fromkeys(one for unit in instance.units for one in unit.entry.composition.unread)
    return [f"{one} may decide instead: it is not read." for one in found]


def _declared(every: list[Hold], spot: Spot) -> Hold:
    """The version at a place that policy declares."""
    found = next((hold for hold in every if hold.decides.spot.key == spot.key), None)
    return found or Hold("version", str(spot), (Place(form_of(spot.value), spot),))


def held(instance: Instance) -> list[Hold]:
    """The versions of an instance: its own where it is known which that is, else all of them."""
    every = [hold for unit in instance.units for hold in unit.holds]
    try:
        return _chosen(instance, every, "version", "")[0][:1]
    except InfraError:
        return [hold for hold in every if hold.setting == "version"]


def _chosen(instance: Instance, every: list[Hold], setting: str, image: str) -> tuple[list[Hold], list[Hold]]:
    """The versions to set, and the others."""
    kinds = _MOVING if setting == "version" else (setting,)
    kind = next((kind for kind in kinds if any(hold.setting == kind for hold in every)), None)
    if kind is None:
        units = ", ".join(map(str, instance.units))
        step = f'Say in infra.toml where it is: settings.{setting}.at = "path#field" in [apps.{instance.app}].'
        raise InfraError("not-in-repository", f"{units} holds no {setting} of {instance.app}.", next_step=step)
    holds = [hold for hold in every if hold.setting == kind]
    if image:
        others, holds = holds, [hold for hold in holds if hold.image == image]
        if not holds:
            runs = "; ".join(f"{hold.image or hold.label} by {hold.decides.spot}" for hold in others[:_NAMED])
            what = f"No image of {image} is in {', '.join(map(str, instance.units))}, which runs {runs}."
            step = f"Correct image in [apps.{instance.app}] of infra.toml, or the named place by hand."
            raise InfraError("not-in-repository", what, next_step=step)
    main = _same(instance, _main(instance, holds))
    taken = {id(hold) for hold in main}
    return main, [hold for hold in every if id(hold) not in taken]


def _main(instance: Instance, holds: list[Hold]) -> list[Hold]:
    """The versions of one image (or chart): the only one, the one at the usual place, or the one of the app's name."""
    groups: dict[str, list[Hold]] = {}
    for hold in holds:
        groups.setdefault(hold.image or hold.label, []).append(hold)
    for wanted in (
        list(groups.values()),
        [group for group in groups.values() if any(hold.leads for hold in group)],
        [group for name, group in groups.items() if Image.parse(name).last == instance.app],
    ):
        if len(wanted) == 1:
            return wanted[0]
    raise _ambiguous(instance, [group[0] for group in groups.values()])


def _same(instance: Instance, holds: list[Hold]) -> list[Hold]:
    """Those of them that have the app's version: others of the same image stay."""
    if len({hold.version for hold in holds}) == 1:
        return holds
    first = [hold for hold in holds if hold.leads] or [hold for hold in holds if "nitContainers" not in hold.label]
    if len({hold.version for hold in first}) != 1:
        raise _ambiguous(instance, holds)
    return [hold for hold in holds if hold.version == first[0].version]


def _ambiguous(instance: Instance, holds: Sequence[Hold]) -> InfraError:
    several = "; ".join(f"{hold.label} ({f'{hold.image} {hold.version}'.strip()})" for hold in holds[:_NAMED])
    what = f"{instance.app} has several versions, and nothing says which one is its own: {several}."
    setting = "version" if holds[0].setting == "version" else "chart"
    kind = "version" if setting == "version" else "chart-version"
    line = f'settings.{setting} = {{ at = "{holds[0].decides.spot}", type = "{kind}" }}'
    step = f"Say in infra.toml which one it is, such as {line} in [apps.{instance.app}]."
    return InfraError("ambiguous-setting", what, next_step=step)


def _set(
    census: Census, instance: Instance, done: Located, hold: Hold, tag: str, digest: str, *, drop_digest: bool
) -> None:
    place = hold.decides
    version = place.styled(tag)
    if version != tag:
        done.notes.append(f"{hold.label} is written {version}, as {place.version} was.")
    if version != place.version or (digest and digest != place.pinned):
        _check(census, hold, place, version, digest, drop_digest=drop_digest)
        require_own(census, instance, place.spot)
        done.notes += [hold.note] if hold.note else []
    kept = digest or ("" if drop_digest and version != place.version else place.pinned)
    if place.pinned and not kept:
        done.notes.append(f"{hold.label} loses its digest {place.pinned}.")
    done.version = version
    done.add(place.sets(version, kept))
    for masked in hold.places[:-1]:
        where = masked.spot
        if masked.version == place.version and masked.version and _is_own(census, instance, masked.spot):
            done.add(masked.sets(version, kept if masked.pinned else ""))
            done.notes.append(f"{where} is masked by {place.spot} and moves along.")
        elif masked.version:
            done.notes.append(f"{where} is masked by {place.spot} and stays at {masked.version}.")


def _same_version(one: str, other: str) -> bool:
    return one.removeprefix("v") == other.removeprefix("v")


def _along(census: Census, instance: Instance, done: Located, hold: Hold) -> None:
    """Set what says the same as the version, where only this instance reads it."""
    place = hold.decides
    if any(spot.key == place.spot.key for spot, _ in done.sets):
        return
    if _is_own(census, instance, place.spot):
        done.add(place.sets(place.styled(done.version), ""))
    elif place.version != done.version:
        done.notes.append(f"{place.spot} stays at {place.version}: other instances read it, too.")


def _check(census: Census, hold: Hold, place: Place, version: str, digest: str, *, drop_digest: bool) -> None:
    if "{{" in as_text(place.spot.value):
        what = f"{place.spot} is a template, and what it takes its value from is not understood."
        raise InfraError("ambiguous-setting", what)
    if digest and place.form in {"plain", "url"}:
        raise InfraError("invalid-argument", f"version: {hold.label} has no digest; give the version alone.")
    if place.pinned and not digest and not drop_digest:
        what = f"{place.spot} is pinned by {place.pinned}: with {version} alone the old image would run, or any."
        raise InfraError("digest-needed", what)
    if hold.setting == "revision" and not is_release(place.version):
        what = f"{place.spot} follows {place.version or 'no revision'}: a version there would end that."
        raise InfraError("ambiguous-setting", what, next_step="Change the revision by hand, if it is to be pinned.")
    if by := hold.automation or automation(census.index, place.spot):
        what = f"{place.spot} is written by {by}, which would undo the change."
        raise InfraError("automation", what)


def _is_own(census: Census, instance: Instance, spot: Spot) -> bool:
    """Whether no other instance of the app reads a place's file, and no other app has its version there, even masked.

    The default of a chart that several apps are made of is such a place: each of them would change with it.
    """
    own = {id(unit) for unit in instance.units}
    others = [unit for unit in census.units if id(unit) not in own and spot.path in unit.entry.files]
    return not any(unit.app == instance.app or _has(unit, spot) or _decides(unit, spot) for unit in others)


def _has(unit: Unit, spot: Spot) -> bool:
    return any(place.spot.key == spot.key for hold in unit.holds for place in hold.places)


def require_own(census: Census, instance: Instance, spot: Spot) -> None:
    """Refuse to change a place that decides for other instances of the app, too: their version, pods or other field.

    Raises:
        InfraError: `shared-place`, naming them.
    """
    beside = [one for one in census.find(instance.app) if one.units != instance.units]
    others = [one.environment or one.app for one in beside if any(_decides(unit, spot) for unit in one.units)]
    if others:
        what = f"{spot} decides for {instance.environment or instance.app} and for {', '.join(others[:_NAMED])}."
        raise InfraError("shared-place", what, next_step=_instead(census, instance, beside))


def _instead(census: Census, instance: Instance, beside: Sequence[Instance]) -> str:
    """Where a value of this instance alone could stand, as advice; `beside` are the other instances of its app."""
    others = [unit for one in beside for unit in one.units]
    theirs = {folder for unit in others for folder in unit.folders}
    own = [folder for unit in instance.units for folder in unit.folders if folder not in theirs]
    read = {path for unit in others for path in unit.entry.files}
    mine = sorted({path for unit in instance.units for path in unit.entry.files} - read)
    named = census.index.kustomizations[own[0]] if own else ", ".join(mine[:_NAMED])
    named = named or "the overlay or values file of this instance alone"
    return f"Set the value in {named}, by hand, and send this again; or change the shared place for all by hand."


def _decides(unit: Unit, spot: Spot) -> bool:
    versioned = any(hold.setting not in _ALONG for hold in unit.holds)
    stacks = [
        [place.spot for place in hold.places] for hold in unit.holds if not (versioned and hold.setting in _ALONG)
    ]
    mine = [some for some in (*stacks, unit.decides_replicas) if any(one.key == spot.key for one in some)]
    return any(some[-1].key == spot.key for some in mine or [unit.layers(spot)] if some)
