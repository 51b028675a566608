"""A place where a version stands, in each of the forms that repositories have, and what to write there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from infra_mcp.model.image import Image
from infra_mcp.repository.layers import Spot, Tail
from infra_mcp.repository.lenient import as_text
from infra_mcp.repository.scalars import Json

_REF = re.compile(r"([?&]ref=)([^&#]*)")
_RELEASE = re.compile(
    r"(/)(v?\d+\.\d+[\w.+-]*)(?=/)"
)  # a release in the path: `…/releases/download/v1.4.2/install.yaml`
_LONGEST = 250  # characters of a revision
_V = re.compile(r"v(?=\d)")

# Revisions of git that are versions: a tag with numbers, a range of them, or a commit. Others are branches.
_TAG = re.compile(r"(?:refs/tags/)?(?:[\w.]+[-/@])*[~^]?v?\d+(?:\.[\w*+-]+)+|refs/tags/.+|v\d+|[0-9a-f]{7,40}")
_BRANCH = re.compile(r"(?:.*/)?releases?[-/]v?\d+(?:\.\d+)?(?:\.x)?")

# image: a whole reference, `registry.example/a:1.2@sha256:…`. tag: the tag alone, perhaps with a digest behind it.
# plain: a chart's version, a revision. url: a revision in a URL, `https://…?ref=…`, or a release in its path.
Form = Literal["image", "tag", "plain", "url"]


@dataclass(frozen=True)
class Place:
    """One place where a version stands."""

    form: Form
    spot: Spot
    digest: Spot | None = None  # a place beside it that pins the image by its digest

    @property
    def version(self) -> str:
        """The version that stands here: tag, chart version or revision; empty where there is none."""
        text = as_text(self.spot.value)
        if self.form == "image":
            return Image.parse(text).tag
        if self.form == "url":
            found = _in_url(text)
            return found[2] if found else ""
        return text.partition("@")[0]

    @property
    def pinned(self) -> str:
        """The digest that pins the image here; empty without one."""
        if self.digest is not None:
            return as_text(self.digest.value)
        text = as_text(self.spot.value)
        return text.partition("@")[2] if self.form in {"image", "tag"} else ""

    def sets(self, version: str, digest: str) -> Iterator[tuple[Spot, Json]]:
        """What to write, and where, so that this version stands here; an empty digest removes the one that is there."""
        text = as_text(self.spot.value)
        if self.digest is not None:
            if digest or self.digest.value is not None:
                yield self.digest, digest or None
            if self.spot.value is None and digest:
                return  # by its digest alone, as before
            digest = ""
        pin = f"@{digest}" if digest else ""
        match self.form:
            case "image":
                yield self.spot, f"{Image.parse(text).named}:{version}{pin}"
            case "url":
                found = _in_url(text)
                yield self.spot, text[: found.start(2)] + version + text[found.end(2) :] if found else text
            case _:
                yield self.spot, f"{version}{pin}"

    def styled(self, version: str) -> str:
        """The version in the style of the one that stands here: with a leading v or without."""
        now = self.version
        if _V.match(now) and version[:1].isdigit():
            return f"v{version}"
        if now[:1].isdigit() and _V.match(version):
            return version[1:]
        return version


def places_of(form: Form, spots: Iterable[Spot]) -> tuple[Place, ...]:
    """The places of a version in this form; none where a template puts a tag there, and the form has no room for it."""
    found = list(spots)
    if form in {"plain", "url"} and any(isinstance(spot, Tail) for spot in found):
        return ()
    return tuple(Place("tag" if isinstance(spot, Tail) else form, spot) for spot in found)


def is_release(revision: str) -> bool:
    """Whether a revision of git names one state, as far as its form tells: a tag or commit, not a branch."""
    return len(revision) <= _LONGEST and bool(_TAG.fullmatch(revision)) and not _BRANCH.fullmatch(revision)


def _in_url(text: str) -> re.Match[str] | None:
    """The revision of a URL; None where it has none, or several."""
    found = list(_REF.finditer(text)) or list(_RELEASE.finditer(text))
    return found[0] if len(found) == 1 else None


def form_of(value: Json) -> Form:
    """How a version most likely stands in a value: in a URL, in an image's reference, or alone."""
    text = as_text(value)
    if _REF.search(text):
        return "url"
    return "image" if Image.parse(text).tag or "/" in text else "tag"
