"""Finds what a deliverer would interpret in a value: values of a request are data. Pure.

A value that Flux substitutes, Helm renders or a secret plug-in resolves could publish a secret, or read what its asker
may not. So each such sign is refused, unless policy allows it or the deliverer has an escape for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from infra_mcp.text import first_hidden

# What policy may allow by name -> the pattern that finds it, and who interprets it.
_SIGNS: Final[dict[str, tuple[str, str]]] = {
    "${": (r"\$\{", "Flux, Terraform and shells expand it"),
    "$(": (r"\$\(", "Kubernetes and kustomize expand it"),
    "$[": (r"\$\[", "pipelines evaluate it"),
    "$$": (r"\$\$", "Flux and Kubernetes take it for an escaped $"),
    "$NAME": (r"\$[A-Za-z_]", "Argo CD and envsubst expand it"),
    "%{": (r"%\{", "Terraform evaluates it"),
    "{{": (r"\{\{", "Helm, helmfile and Argo CD render it"),
    "{%": (r"\{[%#]", "Jinja renders it"),
    "#{": (r"#\{", "deployment tools replace it"),
    "<path:": (r"<path:", "Argo CD's vault plugin replaces it by a secret"),
    "<": (r"<(?!path:)[^<>]+>", "Argo CD's vault plugin takes it for a placeholder"),
    "ref+": (r"ref\+", "vals replaces it by a secret"),
    "ENC[": (r"ENC\[", "sops takes it for an encrypted value"),
    "vault:": (r"^(?:>>)?vault:", "secret injectors replace it by a secret"),
    "op://": (r"op://", "secret injectors replace it by a secret"),
    "`": (r"`", "shells run it"),
    "\n": (r"\n", "it begins another line"),
}
SIGNS: Final = tuple(_SIGNS)
_FINDERS: Final = {sign: (re.compile(pattern), why) for sign, (pattern, why) in _SIGNS.items()}


class Escape(NamedTuple):
    """How a deliverer lets text pass as it is.

    Args:
        signs: which signs it escapes; it interprets no other.
        finds: the characters to double.
        never: what it interprets and has no safe escape for.
    """

    signs: tuple[str, ...]
    finds: re.Pattern[str]
    never: re.Pattern[str] | None = None


# flux: a Kustomization with postBuild; its envsubst (github.com/drone/envsubst, parse/scan.go) reads `$$` as `$` and
# drops a backslash before another or a slash. terraform: HCL's template escapes; a text in a JSON file of variables is
# no template (HCL, JSON syntax, without an evaluation context). A delivery without an entry has none.
ESCAPES: Final[dict[str, Escape]] = {
    "flux": Escape(("${", "$$"), re.compile(r"\$(?=[${])|(?<=\$)\$"), re.compile(r"\\[\\/]")),
    "terraform": Escape(("${", "%{"), re.compile(r"(?<!\$)\$(?=\{)|(?<!%)%(?=\{)")),
    "terraform-json-variables": Escape(("${", "%{"), re.compile(r"(?!)")),
}


def inert(text: str, allow: Collection[str] = ()) -> str | None:
    """Why a value would not be taken as it is; None where nothing in it is interpreted.

    Args:
        text: the value. The answer does not repeat it.
        allow: the signs that may stand in it, of `SIGNS`.
    """
    for sign, (finder, why) in _FINDERS.items():
        if sign not in allow and finder.search(text):
            shown = "a line break" if sign == "\n" else sign
            return f"it contains {shown}: {why}"
    hidden = first_hidden(text)
    return None if hidden is None else f"it contains the control character U+{ord(hidden):04X}"


def escaped(text: str, delivery: str) -> str | None:
    """The text as it must be written so that the delivery gives it back unchanged; None where it has no form for it.

    A delivery without an escape gives the text itself; whether that is inert, `inert` says.
    """
    escape = ESCAPES.get(delivery)
    if escape is None:
        return text
    if escape.never and escape.never.search(text):
        return None
    return escape.finds.sub(lambda found: found[0] * 2, text)
