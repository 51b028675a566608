"""One file with manifests: its objects or its problem, and what it may hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.render import Located, parse

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_ESCAPE = re.compile(rb"\\(?:[xuU]|[ \t]*[\r\n])")  # in double quotes: it can stand for a letter, or for none
Literal = tuple[bytes, re.Pattern[bytes]]  # bytes, and the same as a whole word
# A line that a template engine fills in: it begins with an action, or has one as a plain value.
_TEMPLATE = re.compile(r"^[ \t]*(?:-[ \t]+)?(?:[\w.-]+:[ \t]+)?\{[{%]", re.MULTILINE)
_QUOTED = re.compile(r"[\"'\\]")


@dataclass(frozen=True)
class Manifest:
    """A file under the roots: its bytes, and either its objects or its problem, parsed at the first use."""

    data: bytes
    path: str = ""  # empty for a file of another delivery: it holds no objects
    cluster: str = ""
    refusal: str | None = None  # why it is not even parsed

    @cached_property
    def _parsed(self) -> tuple[tuple[Located, ...], str | None, bool]:
        """Its objects, its problem, and whether it may hold other objects."""
        if self.refusal or not self.path:
            return (), self.refusal, bool(self.refusal)
        malformed: list[str] = []
        try:
            found = tuple(parse(self.data, self.path, self.cluster, malformed))
        except InfraError as error:
            return (), error.what, True
        return found, malformed[0] if malformed else None, False

    @property
    def objects(self) -> tuple[Located, ...]:
        """Its objects, in its order."""
        return self._parsed[0]

    @property
    def problem(self) -> str | None:
        """Why it cannot be read, with its name and the line."""
        return self._parsed[1]

    def could_hold(self, words: Iterable[Literal], *, any_case: bool = False) -> bool:
        """Whether these could be kind, name or namespace of one of its objects, without parsing it.

        Args:
            words: as `literals` gives them.
            any_case: whether they are small letters that may stand there as capitals.
        """
        data = self.data.lower() if any_case else self.data
        if data[:2] in _UTF_16 or (b"\\" in data and _ESCAPE.search(data)):
            return True
        return all(word in data for word, _ in words) and all(whole.search(data) for _, whole in words)

    def may_hold(self, ref: ObjectRef) -> bool:
        """Whether a file that cannot be parsed may hold this object: its kind, name and namespace are values of keys.

        A template is no manifest, and what only looks like an object (it has no name, for one) is not this one.
        """
        if not self._parsed[2]:
            return False
        text = self.data.decode("utf-16" if self.data[:2] in _UTF_16 else "utf-8", "replace")
        keys = {"kind": ref.kind, "name": ref.name, "namespace": ref.namespace}
        return (
            "metadata" in text
            and all(_gives(text, key, word) for key, word in keys.items() if word)
            and not _TEMPLATE.search(text)
        )


def literals(words: Iterable[str]) -> list[Literal]:
    """The bytes of these values in any file that holds them: without white space, so all up to a quote or escape."""
    found = []
    for word in words:
        first, *more = (part.encode("utf-8", "surrogatepass") for part in _QUOTED.split(word))
        end = b"" if more else rb"(?![\w-])"
        found.append((first, re.compile(rb"(?<![\w.-])" + re.escape(first) + end)))
    return found


def _gives(text: str, key: str, value: str) -> bool:
    """Whether a text that is no YAML gives a key this value, on its line or as a block scalar below it."""
    block = r"(?:[ \t]*[>|][-+0-9]{0,2}[ \t]*\n[ \t]{0,80})?"
    given = rf"(?<![\w-]){key}[\"']?[ \t]{{0,80}}:{block}[^\n,]{{0,80}}?(?<![\w.-]){re.escape(value)}(?![\w-])"
    return bool(re.search(given, text))
