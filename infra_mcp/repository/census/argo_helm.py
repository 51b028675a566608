"""The values of a chart that Argo CD renders, and the versions in them.

What is on top: parameters, then `valuesObject` (with it `values` is not read), `values`, the values files from the last
to the first, the chart's own values. Source: Argo CD, "Helm".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.repository.census.argo_apps import normal
from infra_mcp.repository.census.argo_templates import OPEN, Fixed, Rendered, Text
from infra_mcp.repository.census.chart import files_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.parameters import Parameter
from infra_mcp.repository.census.release import Release, Values, chart_version
from infra_mcp.repository.layers import Below, Document, Inside, Source, Spot, parts
from infra_mcp.repository.lenient import as_text, items, mapping, maps
from infra_mcp.repository.locator.holds import Hold
from infra_mcp.repository.locator.places import is_release, places_of
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json

_REMOTE = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_SECRETS = re.compile(r"secrets(?:\+[\w-]+)*://", re.IGNORECASE)  # helm-secrets: an encrypted file of this repository


@dataclass(frozen=True)
class Helm:
    """One source of an Application that is a chart.

    Args:
        index: of the repository.
        spec: the source; its places.
        folder: the chart's, where it is in this repository.
        refs: the other sources by their `ref`, and whether each is this repository.
        template: the same source in an ApplicationSet's template.
    """

    index: Index
    spec: Source
    folder: str | None
    refs: Mapping[str, bool]
    template: Rendered | None = None

    @property
    def files(self) -> frozenset[str]:
        """The values files that it reads, and the chart's own."""
        return files_of(self.index, self.folder).union(filter(None, self._named))

    @cached_property
    def _named(self) -> list[str | None]:
        """The path of each values file; None for one that is not known, or elsewhere."""
        return [self._path(one) for one in items(self.spec.value, "helm", "valueFiles")]

    def _path(self, given: Json) -> str | None:
        if not isinstance(given, str) or not given:
            return None
        text = _SECRETS.sub("", given)
        ref, _, rest = text.partition("/")
        if text.startswith("$"):
            path = normal(rest) if self.refs.get(ref[1:]) else ""
        elif _REMOTE.match(text) or self.folder is None:
            path = ""
        else:
            path = normal(text if text.startswith("/") else f"{self.folder}/{text}")
        entry = self.index.tree.entries.get(path)
        is_link = entry is not None and not entry.mode.startswith("100")
        return None if not path or path.startswith("..") or is_link else path

    @cached_property
    def release(self) -> Release:
        """The chart with its values, without what lies below a source that is not known."""
        given: list[Values] = [*self._named]
        inline: Source = Below(self.spec, ("helm", "valuesObject"))
        if self._text is not None:
            is_object = isinstance(inline.value, dict)
            given += [] if is_object or isinstance(self._text.value, dict) else [None]
            inline = _Hidden(self._text, inline) if is_object else self._text
        return Release(self.index, self.folder, [*given, inline], tuple(self._parameters()), tuple(self._others()))

    def _others(self) -> Iterator[Hold]:
        """The versions that the source itself holds: images of a kustomization that is elsewhere, chart, revision."""
        value = self.spec.value
        for position, one in enumerate(items(value, "kustomize", "images")):
            image = Image.parse(as_text(one).partition("=")[2] or as_text(one))
            if image.tag or image.digest:
                places = places_of("image", self.spec.spots(("kustomize", "images", position)))
                yield Hold("version", f"kustomize.images[{position}]", places, image.repository)
        url, revision = as_text(value.get("repoURL")), as_text(value.get("targetRevision"))
        spots = self.spec.spots(("targetRevision",))
        if value.get("chart") or url.startswith("oci://"):
            yield chart_version(as_text(value.get("chart")) or posixpath.basename(url), spots)
        elif self.folder is None or is_release(revision):
            yield Hold("revision", f"revision of {posixpath.basename(url)}", places_of("plain", spots))

    @cached_property
    def _text(self) -> Source | None:
        at: FieldPath = ("helm", "values")
        text = get_path(self.template.base.value if self.template else self.spec.value, at)[1]
        if not isinstance(text, str) or not text.strip():
            return None
        if self.template and OPEN in text:
            return Rendered(Text(self.template.base, at), self.template.parameters)
        return Inside(self.spec, at)

    def _parameters(self) -> Iterator[Parameter]:
        """As Argo CD gives them to Helm: those that are texts after the others, files last."""
        listed = [(one, mapping(one.value)) for one in parts(self.spec, ("helm", "parameters"), "name")]
        for forced in (False, True):
            for one, about in listed:
                if (about.get("forceString") is True) is forced:
                    yield Parameter(as_text(about.get("name")), Below(one, ("value",)), is_text=forced)
        for given in maps(self.spec.value, "helm", "fileParameters"):
            path = self._path(given.get("path"))
            document = next(iter(self.index.documents(path)), None) if path else None
            held: Source = Document(path, 0, document) if path and isinstance(document, str) else Fixed(None)
            yield Parameter(as_text(given.get("name")), held, is_text=True)


@dataclass(frozen=True)
class _Hidden:
    """Values that are not read since others are there: they are masked where these set the field, and else nothing."""

    low: Source
    high: Source

    @property
    def value(self) -> Json:
        return self.high.value

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        high = self.high.spots(field)
        return (*self.low.spots(field), *high) if high else ()
