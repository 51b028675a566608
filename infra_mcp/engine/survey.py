"""What a repository holds, and what `infra-mcp init` proposes of it."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import to_thread

from infra_mcp.actions.base import census_of
from infra_mcp.engine.preview import opened
from infra_mcp.policy.grammar import WORKLOADS
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.others import Other, others
from infra_mcp.repository.census.roots import OURS, Delivered, Root, layout, namespace_folders
from infra_mcp.repository.locator.version import held
from infra_mcp.repository.paths import SUFFIXES

_FILE_NAME: Final = "{kind}-{name}.yaml"


@dataclass(frozen=True)
class App:
    """An app, as far as a section of policy could say it."""

    name: str
    environments: tuple[str, ...]
    version: str  # where there is only one instance, and one version of it
    versions: tuple[str, ...]  # of all instances, where each has one
    delivery: str
    workloads: tuple[str, ...]  # `media/deployment/player`, of each instance whose workload is in the repository
    folder: str  # right below the root, where its files are


@dataclass(frozen=True)
class Survey:
    """What a repository holds."""

    held: tuple[tuple[str, int, str], ...]  # kind, how many, by which delivery
    roots: tuple[Root, ...]
    layout: str | None  # where a new object's file goes; None where the repository does not make it plain
    clusters: tuple[str, ...]
    owners: tuple[tuple[str, int], ...]  # folders with apps below them, and how many
    apps: tuple[App, ...]
    instances: int
    left_out: tuple[tuple[str, int], ...]  # what was not looked at, and how many files

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be delivered."""
        return not self.roots

    @property
    def is_others(self) -> bool:
        """Whether others deliver everything, so that no cluster is needed."""
        return bool(self.roots) and all(root.delivery != OURS for root in self.roots)


async def survey(repo: Path, staged: str | None = None) -> Survey:
    """What the commit that is checked out holds.

    Args:
        repo: the top of a checkout.
        staged: the id of a tree, where there is no commit yet.

    Raises:
        InfraError: `git-failed`.
    """
    async with opened(repo, staged=staged) as (policy, tree):
        census = census_of(policy, tree)
        return await to_thread.run_sync(_survey, census)


def _survey(census: Census) -> Survey:
    beside = others(census.index)
    delivered = Delivered(census, beside)
    roots = delivered.roots()
    ours = [root.path for root in roots if root.delivery == OURS]
    theirs = [root.path for root in roots if root.delivery != OURS]
    spaces = [
        (path, name)
        for path, name in namespace_folders(census.index, ours)
        if delivered.deliveries.get(path) == OURS and path not in theirs
    ]
    apps = tuple(_apps(census, {root.path for root in roots}))
    clusters = {entry.cluster for entry in census.entries if entry.cluster}
    return Survey(
        tuple(_held(census, beside, delivered)),
        tuple(roots),
        layout(spaces, _FILE_NAME),
        tuple(sorted(clusters)),
        tuple(_owners(census, roots)),
        apps,
        sum(max(len(environments), 1) for environments in (one.environments for one in apps)),
        tuple(_left_out(census, beside, delivered)),
    )


def _apps(census: Census, tops: set[str]) -> Iterator[App]:
    for name, instances in census.apps.items():
        each = [held(one) for one in instances]
        versions = [holds[0].version for holds in each if len(holds) == 1]
        units = [unit for one in instances for unit in one.units]
        kinds = [(unit.namespace, unit.kind.lower(), unit.name) for unit in units]
        workloads = [f"{space}/{kind}/{own}" for space, kind, own in kinds if space and kind in WORKLOADS]
        yield App(
            name,
            tuple(one.environment for one in instances if one.environment),
            versions[0] if len(each) == len(versions) == 1 else "",
            tuple(dict.fromkeys(versions)) if len(versions) == len(each) else (),
            instances[0].entry.delivery,
            tuple(dict.fromkeys(workloads)),
            _below(units[0].path, tops),
        )


def _held(census: Census, beside: list[Other], delivered: Delivered) -> Iterator[tuple[str, int, str]]:
    """Units by kind, manifests without a version, and what is beside them."""
    units = Counter((unit.kind, unit.entry.delivery) for unit in census.units)
    deliveries = delivered.deliveries
    used = {unit.path for unit in census.units}
    builds = set(census.index.kustomizations.values())
    plain = Counter(deliveries[path] for path in deliveries.keys() - used - builds if census.index.says_kinds(path))
    made = Counter(deliveries[path] for path in builds & deliveries.keys())
    rows = [(kind, number, delivery) for (kind, delivery), number in units.items()]
    rows += [("other manifest", number, delivery) for delivery, number in plain.items()]
    rows += [("kustomization", number, delivery) for delivery, number in made.items()]
    counted = Counter[tuple[str, str]]()
    for one in beside:
        counted[one.kind, one.delivery] += one.count if one.kind == "encrypted" else 1
    rows += [(kind, number, delivery) for (kind, delivery), number in counted.items()]
    named = ((kind, number, "-" if delivery in {"none", "unknown"} else delivery) for kind, number, delivery in rows)
    yield from sorted(named, key=lambda row: (row[2] == "-", row[2], -row[1], row[0]))


def _owners(census: Census, roots: list[Root]) -> Iterator[tuple[str, int]]:
    """The folders right below the roots that hold apps; of a root that has only files, the root."""
    tops = {root.path for root in roots}
    apps: dict[str, set[str]] = {}
    for unit in census.units:
        if folder := _below(unit.path, tops):
            apps.setdefault(folder, set()).add(unit.app)
    yield from ((folder, len(names)) for folder, names in sorted(apps.items()))


def _below(path: str, tops: set[str]) -> str:
    """The folder of a file that is right below a root; empty where it is below none."""
    folder = posixpath.dirname(path)
    above = folder
    while above and above not in tops:
        folder, above = above, posixpath.dirname(above)
    return folder if above in tops else ""


def _left_out(census: Census, beside: list[Other], delivered: Delivered) -> Iterator[tuple[str, int]]:
    listing = census.index.listing
    _ = delivered.deliveries  # they say what cannot be read
    found = Counter(
        listing.reason(posixpath.dirname(path)) for path in listing.regular if path.endswith((*SUFFIXES, ".tf", ".tpl"))
    )
    found["encrypted files"] = sum(one.count for one in beside if one.kind == "encrypted")
    found["templates and files that cannot be read"] = len(delivered.unreadable)
    run = {one.path for one in beside if one.is_terraform}
    modules = {posixpath.dirname(path) for path in listing.paths if path.endswith((".tf", ".tofu"))} - run
    found["Terraform modules"] = len(modules)
    yield from sorted((what, number) for what, number in found.items() if what and number)
