"""Masks every outgoing text: a marker replaces each known secret and each text that looks like a secret.

The marker is `[masked:HMAC8]`, a keyed hash of the secret: equal secrets have equal markers, and nothing else shows.
Masking twice changes nothing. It prefers to hide too much: a password that looks like a word, in a sentence that does
not call it one, is *not* found; a value after `password=` always is. Digests, commit ids and request ids are no secrets
and stay. Every rule takes time linear in the text (bounded or self-delimiting repeats only), whatever the text is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

_MARKER = re.compile(r"\[masked:[0-9a-f]{8}\]")
_KEYED = re.compile(r"hmac:[0-9a-f]{32}")  # the keyed hash of a secret, see model/digest
_PASSES = 5  # a marker can reveal a secret beside it that a letter hid; two are usual where there is any
_MIN_KNOWN = 6  # a shorter known value would hide ordinary words
_MIN_LINE = 16
_MAX_CLEAN = 300  # characters of a text that is remembered as clean
_MAX_CLEAN_TEXTS = 4096  # about a megabyte
_WORDLIKE = 16  # from this length on a run of letters after "bearer" counts as a token

# What a secret's name ends in: DB_PASSWORD, registry-token, X-Api-Key. A "pull secret" is itself a name. The lookahead
# makes the search four times faster.
_NAME = (
    r"(?=[pstac.])(?:passwords?|passwd|passphrase|pwd|(?<!pull)(?<!pull[-_ ])secret|token|api[-_ ]?key|secret[-_]?key"
    r"|(?:access|private|account|signing|cryption|shared)[-_]?(?:access[-_]?)?key(?:[-_]?id)?|credentials?"
    r"|authorization|\.dockerconfigjson|\.dockercfg)"
)
_TEXT = re.IGNORECASE | re.ASCII
_NAME_AT_END = re.compile(rf"{_NAME}$|^auth$", _TEXT)
# A value as it stands after a name: quoted (also inside JSON that is itself a JSON string), a YAML block, or bare. A
# quoted value ends at the quote with as many backslashes as it began with; what never closes ends with its line.
_QUOTED = (
    r"(?P<esc>\\{0,7})(?P<q>[\"'`])(?P<quoted>(?s:.){0,4096}?(?=(?<!\\)(?P=esc)(?P=q))|[^\n]*)"
    r"|(?P<block>[|>][-+0-9]{0,3}[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\Z)|\n)+)"
)
_LITERAL = r"(?:true|false|null|none|nil|~)(?:[\s,;)}\]\"'`\\]|\Z)"
_NUMBER = r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?=[,}\]\s]|\Z)"
_VALUE = rf"(?:{_QUOTED}|(?P<number>{_NUMBER})|(?P<bare>(?!{_LITERAL})[^\s\"'`]\S*))"
_REST_OF_LINE = rf"(?:{_QUOTED}|(?P<bare>(?!{_LITERAL})[^\s\"'`][^\n]*))"
# As in `"name": "` and `\"name\": \"`, and in `name: `.
_COLON = r"\\{0,7}[\"']?[ \t]{0,20}:[ \t]{0,20}"


class Rule(NamedTuple):
    """One kind of secret.

    Every text it can match contains one of the lower-case `hints`, so that most rules cost one search. The value is the
    match's last group (or all of it); `keep` recognises values that are no secrets.
    """

    name: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    keep: Callable[[str], bool] | None = None


def _plain_word(value: str) -> bool:
    letters = value.strip(".,;:!?\"'`()")
    if any(c.isdigit() or c in "+/=_~$#%^&*!@" for c in letters) or len(letters) >= _WORDLIKE:
        return False
    return letters.islower() or letters.isupper() or letters.istitle()


def _not_basic(value: str) -> bool:
    try:
        return b":" not in base64.b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        return True


def _not_jwt(value: str) -> bool:
    parts = value.split(".")[:-1]
    return not any(part.startswith("eyJ") or ("eyJ" in part and len(part) >= _WORDLIKE) for part in parts)


def _rule(name: str, hints: str, pattern: str, keep: Callable[[str], bool] | None = None, flags: int = 0) -> Rule:
    return Rule(name, tuple(hints.split()), re.compile(pattern, flags), keep)


# In a text that holds a Secret's manifest, everything below `data` is secret, whatever its name.
_MANIFEST = re.compile(r"kind\W{1,12}Secret\b")
_MANIFEST_DATA = re.compile(
    r"^(?P<indent>[ \t+-]{0,200})(?:data|stringData):[ \t]*\n((?:(?P=indent)[ \t]+[^\n]*(?:\n|\Z)|[ \t]*\n)+)"
    r"|\b(?:data|stringData)\\{0,7}[\"']?\s{0,20}:\s{0,20}\{([^{}]*)",
    re.MULTILINE,
)
_B = r"(?<![A-Za-z0-9])"
_PEM = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
RULES: tuple[Rule, ...] = (
    _rule("private key", "private", rf"-----BEGIN {_PEM}[\s\S]*?(?:-----END {_PEM}|\Z)"),
    _rule("age key", "age-secret", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    _rule("user and password in a URL", "://", r"(?<=://)[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]*(?=@)"),
    _rule("token as user in a URL", "http", r"(?:(?<=http://)|(?<=https://))[^\s/?#\"'<>@:]+(?=@)", flags=_TEXT),
    _rule(
        "authorization header",
        "authorization",
        r"authorization\\{0,7}[\"']?[ \t]{0,20}[:=][ \t]{0,20}\\{0,7}[\"']?((?:[a-z]{1,20}[ \t]{1,20})?[^\s\"'\\]+)",
        flags=_TEXT,
    ),
    _rule("bearer token", "bearer", r"\bbearer[ \t]{1,20}([^\s\"'`\\]{8,})", _plain_word, _TEXT),
    _rule("basic credentials", "basic", r"\bbasic[ \t]{1,20}([A-Za-z0-9+/=]{4,})", _not_basic, _TEXT),
    _rule("infra-mcp token", "imcp_", r"imcp_[A-Za-z0-9_-]{16,}"),
    _rule("GitHub token", "gh github_pat_", r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
    _rule("GitLab token", "gl", r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_-]{16,}"),
    _rule("Slack token", "xox xapp", r"(?:xox[a-z]|xapp)(?:\.xox[a-z])?-[A-Za-z0-9-]{10,}"),
    _rule("Slack webhook", "hooks.slack", r"(?<=hooks\.slack\.com/services/)[A-Za-z0-9_/-]{8,}"),
    _rule("AWS access key", "akia asia abia acca", rf"{_B}(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{{16}}"),
    _rule(
        "Google key", "aiza ya29. gocspx-", r"AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}"
    ),
    _rule("Azure signature", "sig=", r"(?<=[?&]sig=)[^\s;&\"']{8,}"),
    _rule("Docker token", "dckr_", r"dckr_[po]at_[A-Za-z0-9_-]{16,}"),
    _rule("docker config", "eyjhdxrocyi6", r"eyJhdXRocyI6[A-Za-z0-9+/=_-]*"),
    _rule("DigitalOcean token", "_v1_", r"do[opr]_v1_[a-f0-9]{32,}"),
    _rule("Vault token", "hv", rf"{_B}hv[sbr]\.[A-Za-z0-9_-]{{20,}}"),
    _rule("Terraform token", ".atlasv1.", r"[A-Za-z0-9]{10,20}\.atlasv1\.[A-Za-z0-9_-]{20,}"),
    _rule("package index token", "npm_ pypi-ag", r"npm_[A-Za-z0-9]{30,}|pypi-Ag[A-Za-z0-9_-]{20,}"),
    _rule(
        "model provider key",
        "sk- hf_",
        rf"{_B}(?:sk-(?=[A-Za-z0-9_-]{{0,100}}[0-9])[A-Za-z0-9_-]{{20,}}|hf_[A-Za-z0-9]{{30,}})",
    ),
    _rule("payment key", "k_live_ k_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _rule("Grafana token", "glsa_ glc_", r"gl(?:sa|c)_[A-Za-z0-9_=+/-]{20,}"),
    _rule("JSON web token", "eyj", r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){1,12}", _not_jwt),
    _rule(
        "password option",
        "-u --user --password --token --secret --api-key --docker-password login --from-literal",
        rf"--[a-z-]{{0,40}}(?:password|token|secret|api-key)[ \t]{{1,20}}(?!-)(\S+)"
        rf"|--from-literal[ =][^\s=]{{1,300}}=(\S+)"
        rf"|\b(?:docker|podman|registry|oras|crane|skopeo)[ ]login\b[^\n]{{0,100}}?\s-p[ =]?(\S+)"
        rf"|{_B}curl\b[^\n]{{0,100}}?\s(?:-u|--user)[ =]?([^\s:]{{0,100}}:\S+)",
    ),
    _rule(
        "password in a sentence",
        "password passwd passphrase token key",
        r"\b(?:password|passwd|passphrase|token|api key)\b[ \t]{1,4}(?:is|was)[ \t]{1,4}(\S{4,})",
        _plain_word,
        _TEXT,
    ),
    _rule(
        "value of a named variable",
        "value",
        rf"name{_COLON}\\{{0,7}}[\"']?[A-Za-z0-9_.-]{{0,100}}{_NAME}\\{{0,7}}[\"']?\s{{0,20}}[,\n]"
        rf"[\s+-]{{0,200}}\\{{0,7}}[\"']?value{_COLON}{_REST_OF_LINE}",
        flags=_TEXT,
    ),
    _rule(  # as a plan and a drift show it
        "value of a named item",
        "].value:",
        rf"\[name=\\{{0,7}}\"[A-Za-z0-9_.-]{{0,100}}{_NAME}\\{{0,7}}\"\]\.value:[ \t]{{1,20}}([^\n]+)",
        flags=_TEXT,
    ),
    _rule(
        "line of YAML",
        "pass pwd secret token key credential",
        rf"^[ \t+-]{{0,200}}[\"']?[A-Za-z0-9_./-]{{0,100}}?{_NAME}[\"']?:[ \t]{{1,20}}{_REST_OF_LINE}",
        flags=_TEXT | re.MULTILINE,
    ),
    _rule(
        "assignment",
        "pass pwd secret token key credential authorization .dockerc",
        rf"{_NAME}\\{{0,7}}[\"']?[ \t]{{0,20}}(?::=|=>|[:=])[ \t]{{0,20}}{_VALUE}",
        flags=_TEXT,
    ),
    _rule("auth in JSON", "auth", rf"(?<=[\"'])auth{_COLON}{_VALUE}", flags=_TEXT),
)


class Masker:
    """Replaces secrets by markers.

    It finds what `RULES` describe and the values it has learned; it cannot find a secret that looks like a word, or one
    that was encrypted or encoded in another way than base64, URL quoting or JSON.

    Args:
        key: the key of the markers' hashes; markers of the same key are comparable.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}  # every form of a known value -> its marker, longest first
        self._clean: dict[str, None] = {}  # short texts without secrets: names, states, repeated texts

    def learn(self, value: str | bytes) -> None:
        """Mask a secret's content from now on, plain and encoded, and the passwords inside a docker config.

        Values shorter than six characters are not learned: they would hide ordinary words.
        """
        raw = (value.encode("utf-8", "replace") if isinstance(value, str) else value).strip()
        known = dict(self._known)
        for secret in (raw, *_lines(raw), *_inside(raw)):
            if len(secret) >= _MIN_KNOWN:
                for form in _forms(secret):
                    known.setdefault(form, self._marker(secret))
        if len(known) > len(self._known):
            # Other threads mask meanwhile. In this order: texts they still find clean by the old go with the old.
            self._known = dict(sorted(known.items(), key=lambda item: -len(item[0])))
            self._clean = {}

    def sparing(self, own: str) -> Masker:
        """A masker that leaves the known values inside a text of the receiver's own, and still applies the rules.

        For texts that go back to their sender, or are public by nature (names, versions): masked there, they would show
        whether a guess equals a secret. All other known values stay masked.
        """
        known = {form: marker for form, marker in self._known.items() if form not in own}
        if len(known) == len(self._known):
            return self
        other = Masker(self._key)
        other._known = known
        return other

    def mask(self, text: str) -> str:
        """The text with every secret replaced by its marker; the same text when there is none."""
        clean = self._clean  # before the known values are read: see `learn`
        if text in clean:
            return text
        masked = self._masked(text)
        if masked == text and len(text) <= _MAX_CLEAN:
            if len(clean) >= _MAX_CLEAN_TEXTS:
                clean.clear()
            clean[text] = None
        return masked

    def _masked(self, text: str) -> str:
        for _ in range(_PASSES):
            before, text = text, self._pass(text)
            if text == before:
                break
        return text

    def _pass(self, text: str) -> str:
        for form, marker in self._known.items():
            if form in text:
                text = text.replace(form, marker)
        lowered = text.lower()
        if "secret" in lowered and _MANIFEST.search(text):
            text = _MANIFEST_DATA.sub(self._replace, text)
        for rule in RULES:
            for hint in rule.hints:
                if hint in lowered:
                    text = rule.pattern.sub(partial(self._replace, keep=rule.keep), text)
                    break
        return text

    def mask_json(self, value: Any, *, whole: bool = False) -> Any:  # noqa: ANN401 - any JSON value
        """The same shape with every string masked, keys included; with `whole`, all of every string.

        Values with a secret's name are masked whole: `{"password": ...}`, `{"name": "API_TOKEN", "value": ...}`, a
        Secret's data, and before and after of a field whose path has such a name.
        """
        if isinstance(value, str):
            return self._hide(value) if whole else self.mask(value)
        if isinstance(value, dict):
            secret = _secret_keys(value)
            return {
                self.mask(key) if isinstance(key, str) else key: self.mask_json(
                    item, whole=whole or key in secret or (isinstance(item, str | int) and _named_secret(key))
                )
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return type(value)(self.mask_json(item, whole=whole) for item in value)
        if whole and isinstance(value, int) and not isinstance(value, bool):
            return self._hide(str(value))
        return value

    def _marker(self, secret: bytes) -> str:
        return f"[masked:{hmac.new(self._key, secret, hashlib.sha256).hexdigest()[:8]}]"

    def _hide(self, value: str) -> str:
        """The marker for a value; an empty value, a keyed hash and a text of markers only stay."""
        only_markers = _MARKER.search(value) and not re.search(r"\w", _MARKER.sub("", value))
        if not value or only_markers or _KEYED.fullmatch(value):
            return value
        return self._marker(value.encode("utf-8", "replace"))

    def _replace(self, match: re.Match[str], keep: Callable[[str], bool] | None = None) -> str:
        # `lastindex` is the last group that closed: helpers (esc, q, indent) always close before the value.
        group = match.lastindex or 0
        whole, value, offset = match[0], match[group], match.start(group) - match.start()
        if not value.strip() or self._hide(value) == value or (keep and keep(value)):
            return whole
        core = value.rstrip(".,;:)]} \t\r\n") or value  # the end of the sentence around it stays
        return whole[:offset] + self._hide(core) + whole[offset + len(core) :]


def texts(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Every text in a JSON value, keys too, a line each."""
    if isinstance(value, dict):
        return "\n".join(f"{key}\n{texts(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(texts, value))
    return str(value)


def _named_secret(key: Any) -> bool:  # noqa: ANN401 - a JSON key as it came
    return isinstance(key, str) and _NAME_AT_END.search(key) is not None


def _secret_keys(value: dict[Any, Any]) -> frozenset[str]:
    """The keys of a JSON object whose values are secret by its other entries."""
    if value.get("kind") == "Secret":
        return frozenset({"data", "stringData"})
    if _named_secret(value.get("name")):
        return frozenset({"value"})
    for key in ("path", "field"):
        steps = value.get(key)
        if isinstance(steps, list | tuple) and any(
            _named_secret(step.get("name") if isinstance(step, dict) else step) for step in steps
        ):
            return frozenset({"before", "after", "value", "git", "live"})
    return frozenset()


def _lines(raw: bytes) -> Iterator[bytes]:
    """The long lines of a value of several lines: indented, as in YAML, an exact search would not find it."""
    lines = [line.strip() for line in raw.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_LINE)


def _inside(raw: bytes) -> Iterator[bytes]:
    """The passwords inside a JSON value, such as a docker config's."""
    try:
        todo = [json.loads(raw)]
    except (ValueError, RecursionError):
        return
    while todo:
        item = todo.pop()
        if isinstance(item, list | dict):
            todo.extend(item.values() if isinstance(item, dict) else item)
        for key, value in item.items() if isinstance(item, dict) else ():
            if isinstance(value, str) and _named_secret(key):
                yield value.encode("utf-8", "replace")
            if isinstance(value, str) and key == "auth":
                with suppress(ValueError):
                    yield base64.b64decode(value).partition(b":")[2]


def _forms(secret: bytes) -> Iterator[str]:
    """A secret as text, in JSON, in a URL, and in base64 at each of the three places it can have in a longer value."""
    text = secret.decode("utf-8", "replace")
    if "\ufffd" not in text:
        yield from (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text, safe=""))
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * shift + secret).decode()
        whole = (shift + len(secret)) * 8 // 6  # characters that depend on nothing after the secret
        for form in (encoded[first:whole], encoded if shift == 0 else ""):
            if len(form) >= _MIN_KNOWN + 2:
                yield from (form, form.replace("+", "-").replace("/", "_"))
