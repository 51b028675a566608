"""What Argo CD delivers: each source of each Application, as a kustomization, a folder of manifests, or a chart."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.repository.census.argo_apps import Application, Applications, normal
from infra_mcp.repository.census.argo_helm import Helm
from infra_mcp.repository.census.argo_sets import is_like
from infra_mcp.repository.census.argo_templates import Rendered
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.composition import Composition, compose, over
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import looked_up
from infra_mcp.repository.census.remote import name_of
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.layers import Below, Document, Source, helm_values
from infra_mcp.repository.lenient import as_text, mapping, maps
from infra_mcp.repository.locator.automation import OVER, UPDATER
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.scalars import Json

_MOST: Final = 5000  # entries of one repository
_LONGEST: Final = 500  # characters of a pattern
_MANIFESTS: Final = (*SUFFIXES, ".jsonnet")


def entries(index: Index, applications: Applications) -> list[Entry]:
    """An entry for each source of each Application that holds something.

    Args:
        index: of the repository.
        applications: its Applications.
    """
    found: list[Entry] = []
    for app in applications.all:
        refs = {as_text(one.get("ref")): applications.is_ours(one.get("repoURL")) for _, one in app.sources}
        for at, one in app.sources:
            ours = applications.is_ours(one.get("repoURL"))
            if one.get("chart") or not one.get("ref") or one.get("path") is not None:
                several = _anywhere(applications, app, at, one) if ours else [one]
                found += [_entry(index, app, at, some, ours, refs) for some in several]
        if len(found) > _MOST:
            break
    return found[:_MOST]


def _anywhere(
    applications: Applications, app: Application, at: FieldPath, one: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A source, in each folder that its path may mean where only the cluster knows it; else itself."""
    path = get_path(app.source.base.value, (*at, "path"))[1] if isinstance(app.source, Rendered) else None
    if one.get("path") is not None or not isinstance(path, str) or not isinstance(app.source, Rendered):
        yield one
        return
    pattern = normal(app.source.parameters.pattern(path))
    index = applications.index
    for folder in sorted({*index.kustomizations, *index.charts}) if pattern.strip("*/") else ():
        if is_like(folder, pattern):
            yield {**one, "path": folder}


def _entry(
    index: Index, app: Application, at: FieldPath, one: dict[str, Any], ours: bool, refs: Mapping[str, bool]
) -> Entry:
    folder = normal(as_text(one.get("path")))
    here = not one.get("chart") and ours and one.get("path") is not None and not folder.startswith("..")
    above = _over(index, app, folder) if here else []
    spec: Source = Below(app.source, at)
    if above:
        spec = helm_values([spec, *(Document(path, 0, index.document(path)) for path in above)])
    own_files = app.files.union(above)
    entry = Entry(
        "argocd",
        folder if here else posixpath.dirname(app.path),
        app.by,
        (),
        app.files,
        app.cluster,
        words=app.words,
        names=(app.app, app.name) if app.is_named else (),
        automated=_automated(app),
    )
    if here and folder in index.kustomizations and not one.get("plugin"):
        made = compose(index, folder)
        objects = _placed(app, over(Below(spec, ("kustomize",)), made.objects, _images_of(index, folder)))
        return replace(entry, objects=objects, files=own_files | made.files, composition=made)
    if here and folder not in index.charts:
        made = _folder(index, folder, one.get("directory"))
        objects = _placed(app, made.objects)
        return replace(entry, objects=objects, files=own_files | made.files, composition=made)
    made_by = app.source if isinstance(app.source, Rendered) else None
    template = Rendered(Below(made_by.base, at), made_by.parameters) if made_by else None
    helm = Helm(index, spec, folder if here else None, refs, template)
    return replace(entry, files=own_files | helm.files, parts=partial(_units, app, at, helm))


def _over(index: Index, app: Application, folder: str) -> list[str]:
    """The files of a folder that Argo CD lays over the source; Image Updater writes them."""
    names = (f"{OVER}.yaml", f"{OVER}-{app.name}.yaml")
    return [path for name in names if index.tree.is_file(path := posixpath.join(folder, name))]


def _placed(app: Application, objects: Iterable[Built]) -> tuple[Built, ...]:
    space = app.destination.get("namespace")
    return tuple(replace(one, namespace=one.namespace or space) for one in objects)


def _images_of(index: Index, folder: str) -> dict[str, str]:
    """The names that a kustomization gives to images, by their former ones: an override replaces the same entry."""
    listed = maps(index.document(index.kustomizations[folder]), "images")
    return {as_text(one.get("name")): as_text(one["newName"]) for one in listed if one.get("newName")}


def _folder(index: Index, folder: str, directory: Json) -> Composition:
    """The manifests of a folder; of those below it only where the Application says so."""
    rules = mapping(directory)
    made = Composition(folder)
    for path in index.below(folder):
        rest = path.removeprefix(f"{folder}/")
        include, exclude = as_text(rules.get("include")), as_text(rules.get("exclude"))
        if (
            path.endswith(_MANIFESTS)
            and ("/" not in rest or rules.get("recurse") is True)
            and (not include or _is_like(rest, include))
            and not (exclude and _is_like(rest, exclude))
            and not is_kustomization(path)
        ):
            made.files.add(path)
            made.objects += index.objects(path)
    return made


def _is_like(path: str, pattern: str) -> bool:
    """Argo CD's patterns: `*.yaml`, or several in braces. A star stands for slashes, too."""
    inner = re.fullmatch(r"\{([^{}]*)\}", pattern)
    some = inner[1].split(",") if inner else [pattern]
    return len(pattern) <= _LONGEST and any(fnmatch.fnmatchcase(path, re.sub(r"\*+", "*", one.strip())) for one in some)


def _units(app: Application, at: FieldPath, helm: Helm, entry: Entry) -> Iterator[Unit]:
    value = get_path(app.source.value, at)[1]
    names = [as_text(get_path(value, field)[1]) for field in (("chart",), ("helm", "releaseName"))]
    name = name_of(helm.folder) if helm.folder and not app.is_named else app.app
    space, read = app.destination.get("namespace") or None, looked_up(lambda: helm.release)
    aliases = tuple(filter(None, (app.name, *names, posixpath.basename(helm.folder or ""))))
    found = partial(getattr, helm, "release")
    yield Unit(name, "Application", app.name, space, app.path, entry, *read, aliases=aliases, release=found)


def _automated(app: Application) -> dict[str, str]:
    """The images that an annotation of the Application has Image Updater write."""
    listed = as_text(get_path(app.source.value, ("metadata", "annotations", UPDATER))[1])
    named = [one.strip().rpartition("=")[2] for one in listed.split(",") if one.strip()]
    by = f"Argo CD Image Updater (annotation {UPDATER} of {app.by})"
    return dict.fromkeys(["", *(Image.parse(one).repository for one in named)], by) if named else {}
