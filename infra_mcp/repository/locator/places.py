"""A place where a version stands, in each of the forms that repositories have, and what to write there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from infra_mcp.model.image import Image
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.scalars import Json

_REF = re.compile(r"([?&]ref=)([^&#]*)")
_V = re.compile(r"v(?=\d)")

# image: a whole reference, `registry.example/a:1.2@sha256:…`. tag: the tag alone, perhaps with a digest behind it.
# plain: a chart's version, a revision. url: a revision in a URL, `https://…?ref=…`.
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
            found = _REF.search(text)
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
                yield self.spot, _REF.sub(lambda found: found[1] + version, text, count=1)
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


def as_text(value: Json) -> str:
    """A scalar as the text that its readers make of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
