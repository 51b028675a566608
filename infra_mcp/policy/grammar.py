"""The small languages of the policy file: patterns, image references, templates, places, durations and moments.

Each is checked when the file is read, so that deciding code compares plain strings. Messages never repeat the refused
value, which may be a secret pasted by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from infra_mcp.model import location
from infra_mcp.model.image import Image
from infra_mcp.policy.owners import is_path_pattern
from infra_mcp.policy.schedule import Schedule

# The kinds a catalogue app may be, as people write them, and the API they belong to (all of them apps/v1).
WORKLOADS: Final = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}

_DNS = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
# OCI distribution spec: domain[:port]/path, then the tag.
_DOMAIN = r"[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_IMAGE = re.compile(rf"({_REPOSITORY}):({_TAG})")
_MAX_IMAGE = 400
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# RFC 3339, with the space that TOML allows for the T.
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Place(NamedTuple):
    """A namespaced object as the policy names it; `kind` is empty where only one kind can be meant."""

    namespace: str
    kind: str
    name: str


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value matches; `*` stands for any run of characters, and nothing else is special."""
    return _compiled(pattern).fullmatch(value) is not None


def expression(pattern: str) -> str:
    """A pattern as a regular expression, with `.` for any character."""
    return ".*".join(re.escape(part) for part in pattern.split("*"))


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern), re.DOTALL)


def matches_image(pattern: str, image: Image, tag: str) -> bool:
    """Whether an image with this tag matches, however the image or the pattern names Docker Hub.

    A short pattern such as `redis:*` matches short names only: its `*` reaches no other registry, as it would do with
    `redis:5000/other`.
    """
    names = image.spellings if pattern == "*" or "/" in pattern else [one for one in image.spellings if "/" not in one]
    return any(matches(pattern, f"{name}:{tag}") for name in names)


def protected(namespace: str, own: str) -> bool:
    """Whether no pattern may reach this namespace. `own` is the namespace of the service accounts."""
    return namespace.startswith("kube-") or namespace in {"default", own}


def is_image(reference: str) -> bool:
    """Whether it is a repository and a tag by the OCI distribution spec's grammar, without a digest."""
    return len(reference) <= _MAX_IMAGE and _IMAGE.fullmatch(reference) is not None


def repository(reference: str) -> str:
    """The reference without its tag."""
    head, _, tail = reference.rpartition(":")
    return head if head and "/" not in tail else reference


def millicores(cpu: str) -> int:
    """A CPU quantity in thousandths of a core: `500m` is 500, `1.5` is 1500."""
    if cpu.endswith("m"):
        return int(cpu[:-1])
    whole, _, part = cpu.partition(".")
    return int(whole) * 1000 + int(f"{part:0<3}" if part else "0")


def bytes_of(memory: str) -> int:
    """A memory quantity in bytes: `8Gi` is 8 times 2^30."""
    return int(memory[:-2]) * _BINARY[memory[-2:]]


def seconds(duration: str) -> float:
    """A duration such as `30s`, `10m`, `1h` or `30d`, in seconds."""
    return float(int(duration[:-1]) * _UNITS[duration[-1]])


def rate(text: str) -> tuple[int, float]:
    """A rate such as `60/h` as its number, and the seconds that it is for."""
    number, _, unit = text.partition("/")
    return int(number), float(_UNITS[unit])


def format_duration(amount: float) -> str:
    """A number of seconds as people write it, in the largest unit that fits: `90s`, `1h`."""
    unit, size = next((one for one in reversed(_UNITS.items()) if amount % one[1] == 0), ("s", 1))
    return f"{int(amount // size)}{unit}"


def _check(holds: Callable[[str], object], message: str) -> AfterValidator:
    """A validator that refuses with this message every value for which the condition does not hold."""

    def validate(value: str) -> str:
        if not holds(value):
            raise ValueError(message)
        return value

    return AfterValidator(validate)


def _schedule(value: str) -> str:
    Schedule.parse(value)
    return value


def _is_path(value: str) -> bool:
    return value == "." or not any(part in {"", ".", "..", ".git"} or part.startswith("-") for part in value.split("/"))


def _place(value: str) -> str:
    at = location.parse(value)
    if not _is_path(at.path) or "\\" in at.path:
        msg = "must name a path inside the repository, without ., .., .git or a leading dash"
        raise ValueError(msg)
    return value


def _field(value: str) -> str:
    if not location.parse(value).field:
        msg = "must name a field of a file, as in path#spec.replicas"
        raise ValueError(msg)
    return value


def one_or_several(value: object) -> object:
    """One text or a list of them, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value  # strict types take no list from Python


def _is_branch(value: str) -> bool:
    parts = value.split("/")
    return ".." not in value and all(
        part and not part.startswith((".", "-")) and not part.endswith((".", ".lock")) for part in parts
    )


def _is_layout(value: str) -> bool:
    fields = re.findall(r"\{([^{}]*)\}", value)
    braces = re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", value))
    return {"kind", "name"} <= set(fields) <= {"root", "namespace", "kind", "name"} and not braces


def _is_image_template(value: str) -> bool:
    before, _, after = value.partition("{version}")
    return "@" not in value and is_image(f"{before}0{after}") and ":" in before.rpartition("/")[2]


def _moment(value: object) -> datetime:
    with suppress(ValueError):  # the 31st of February; its message repeats the value
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    msg = "must be a date and time with its offset, as in 2026-12-20T18:00:00+01:00 (RFC 3339)"
    raise ValueError(msg)


_PATH = _check(_is_path, "must be a path inside the repository, without ., .., .git or a leading dash")
_ONE_VERSION = _check(
    lambda value: value.count("{version}") == value.count("{") == value.count("}") == 1,
    "must contain {version} exactly once, and no other braces",
)

Branch = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$", max_length=200),
    _check(_is_branch, "must be a branch's name, as git check-ref-format has it, without .."),
]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]+$", max_length=4096)]
Committer = Annotated[
    str,
    StringConstraints(pattern=r"^[^<>\x00-\x20\x7f][^<>\x00-\x1f\x7f]* <[^<>\x00-\x20\x7f]+>$", max_length=200),
]
# An address without user, query and fragment, and an owner with a repository, as forges have them.
HttpAddress = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$", max_length=300)
]
ForgeRepository = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9._][-A-Za-z0-9._]*$", max_length=200)
]
ForgeAccount = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
ForgeLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/: ]*$", max_length=50)]
RemoteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*$", max_length=100)]
Layout = Annotated[
    str,
    StringConstraints(pattern=r"^[-A-Za-z0-9_./{}]+\.ya?ml$", max_length=200),
    _check(_is_layout, "must be made of {root}, {namespace}, {kind} and {name}, the last two in any case"),
    _PATH,
]
ScheduleText = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_schedule)]
Explanation = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=300)]
NamespacePattern = Annotated[
    str,
    StringConstraints(pattern=r"^[-a-z0-9*]+$", max_length=63),
    _check(
        lambda value: not protected(value, "default"),
        "can only match protected namespaces (kube-*, default), which no circle may have",
    ),
]
NamePattern = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._*]+$", max_length=64)]
ManagerPattern = Annotated[
    str,
    StringConstraints(pattern=r"^[-A-Za-z0-9._/*]+$", max_length=128),
    _check(
        lambda value: value.strip("*"),
        "would take fields from every manager, controllers included; name the managers",
    ),
]
ImagePattern = Annotated[
    str,
    StringConstraints(pattern=r"^[-A-Za-z0-9._/:*]+$", max_length=255),
    _check(
        lambda value: value == "*" or "*" not in value.partition("/" if "/" in value else ":")[0],
        "must name the registry in full before the first slash, or an image of Docker Hub as redis:*; "
        "a * in that name would match other people's registries",
    ),
]
# `Service`, or `apps/Deployment`: the API group and the kind.
KindPattern = Annotated[str, StringConstraints(pattern=r"^([a-z0-9.*-]+/)?[A-Za-z0-9*]+$", max_length=253)]
HostPattern = Annotated[str, StringConstraints(pattern=r"^[-a-z0-9.*]+$", max_length=253)]
GuardName = Annotated[str, StringConstraints(pattern=r"^[a-z][-a-z0-9.]*$", max_length=63)]
VersionPattern = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._+/*]+$", max_length=200)]
LabelPattern = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._/*]+$", max_length=253)]
ImageTemplate = Annotated[
    str,
    StringConstraints(max_length=255),
    _ONE_VERSION,
    _check(
        _is_image_template,
        "must be an image reference with {version} in its tag, e.g. registry.example/docs/site:{version}",
    ),
]
Template = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=300), _ONE_VERSION]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\\]+$", max_length=255), _PATH]
PathPattern = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f\\?\[\]]+$", max_length=255),
    _check(is_path_pattern, "must be a path inside the repository, in which * and ** are the only wildcards"),
]
# `path`, or `path#field`: see `model.location`.
LocationText = Annotated[str, AfterValidator(_place)]
FieldText = Annotated[str, AfterValidator(_place), AfterValidator(_field)]
Locations = Annotated[tuple[LocationText, ...], BeforeValidator(one_or_several), Field(max_length=50)]
Fields = Annotated[tuple[FieldText, ...], BeforeValidator(one_or_several), Field(min_length=1, max_length=50)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=253)]
RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ObjectPlace = Annotated[str, StringConstraints(pattern=rf"^{_DNS}/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
WorkloadPlace = Annotated[
    str,
    StringConstraints(pattern=rf"^{_DNS}/[a-z]+/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    _check(
        lambda value: value.split("/")[1] in WORKLOADS,
        f"must name a kind among {', '.join(WORKLOADS)}, as namespace/kind/name",
    ),
]
Duration = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smh]$"),
    _check(lambda value: seconds(value) <= 24 * _UNITS["h"], "must be at most 24h"),
]
LongDuration = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smhd]$"),
    _check(lambda value: seconds(value) <= 366 * _UNITS["d"], "must be at most 366d"),
]
Lifetime = Annotated[
    str,
    _check(
        lambda value: (
            value == "never" or (re.fullmatch(r"[1-9][0-9]{0,4}[smhd]", value) and seconds(value) <= 366 * _UNITS["d"])
        ),
        "must be a duration of at most 366d, such as 12h or 90d, or never",
    ),
]
Rate = Annotated[
    str,
    _check(re.compile(r"[1-9][0-9]{0,5}/[smhd]").fullmatch, "must be a number in a time, such as 60/h; s, m, h or d"),
]
Moment = Annotated[datetime, BeforeValidator(_moment)]
