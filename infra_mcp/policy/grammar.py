"""The small languages of the policy file: patterns, image references, templates, places in a cluster.

Each is checked when the file is read, so that the deciding code compares plain strings. Messages never repeat the value
they refuse: somebody may have pasted a secret there.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, StringConstraints

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
_LONGEST_IMAGE = 400
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
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), value, re.DOTALL) is not None


def protected(namespace: str, own: str) -> bool:
    """Whether no pattern may ever reach this namespace.

    Args:
        namespace: its name.
        own: the namespace of the service accounts, which must not be within reach of what they are given.
    """
    return namespace.startswith("kube-") or namespace in {"default", own}


def is_image(reference: str) -> bool:
    """Whether it is a repository and a tag by the OCI distribution spec's grammar, without a digest."""
    return len(reference) <= _LONGEST_IMAGE and _IMAGE.fullmatch(reference) is not None


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


def format_duration(amount: float) -> str:
    """A number of seconds as people write it, in the largest unit that fits: `90s`, `1h`."""
    unit, size = next((one for one in reversed(_UNITS.items()) if amount % one[1] == 0), ("s", 1))
    return f"{int(amount // size)}{unit}"


def _namespace_pattern(value: str) -> str:
    if value.startswith("kube-") or value == "default":
        msg = "can only match protected namespaces (kube-*, default), which no circle may have"
        raise ValueError(msg)
    return value


def _image_pattern(value: str) -> str:
    if value != "*" and ("/" not in value or "*" in value.partition("/")[0]):
        msg = "must name the registry in full before the first slash; a * there would match other people's registries"
        raise ValueError(msg)
    return value


def _image_template(value: str) -> str:
    before, mark, after = value.partition("{version}")
    if not mark or "{" in before + after or "}" in before + after:
        msg = "must contain {version} exactly once, and no other braces"
        raise ValueError(msg)
    if "@" in value or not is_image(f"{before}0{after}") or ":" not in before.rpartition("/")[2]:
        msg = "must be an image reference with {version} in its tag, e.g. registry.example/docs/site:{version}"
        raise ValueError(msg)
    return value


def _template(value: str) -> str:
    if value.count("{version}") != 1 or value.count("{") != 1 or value.count("}") != 1:
        msg = "must contain {version} exactly once, and no other braces"
        raise ValueError(msg)
    return value


def _manager(value: str) -> str:
    if not value.strip("*"):
        msg = "would take fields from every manager, controllers included; name the managers"
        raise ValueError(msg)
    return value


def _relative(value: str) -> str:
    if value != "." and any(part in {"", ".", "..", ".git"} or part.startswith("-") for part in value.split("/")):
        msg = "must be a path inside the repository, without ., .., .git or a leading dash"
        raise ValueError(msg)
    return value


def _branch(value: str) -> str:
    if any(part.endswith((".", ".lock")) or part.startswith((".", "-")) or not part for part in value.split("/")):
        msg = "must be a branch's name, as git check-ref-format has it"
        raise ValueError(msg)
    if ".." in value:
        msg = "must not contain .."
        raise ValueError(msg)
    return value


def _layout(value: str) -> str:
    named = re.findall(r"\{([^{}]*)\}", value)
    if not {"kind", "name"} <= set(named) <= {"root", "namespace", "kind", "name"} or re.search(
        r"[{}]", re.sub(r"\{[^{}]*\}", "", value)
    ):
        msg = "must be made of {root}, {namespace}, {kind} and {name}, the last two in any case"
        raise ValueError(msg)
    return _relative(value)


def _schedule(value: str) -> str:
    Schedule.parse(value)
    return value


def _workload(value: str) -> str:
    if value.split("/")[1] not in WORKLOADS:
        msg = f"must name a kind among {', '.join(WORKLOADS)}, as namespace/kind/name"
        raise ValueError(msg)
    return value


def _duration(value: str) -> str:
    if seconds(value) > 24 * 3600:
        msg = "must be at most 24h"
        raise ValueError(msg)
    return value


def _long(value: str) -> str:
    if seconds(value) > 366 * _UNITS["d"]:
        msg = "must be at most 366d"
        raise ValueError(msg)
    return value


def _moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:  # the 31st of February; its message repeats the value
        pass
    msg = "must be a date and time with its offset, as in 2026-12-20T18:00:00+01:00 (RFC 3339)"
    raise ValueError(msg)


Branch = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$", max_length=200), AfterValidator(_branch)
]
Layout = Annotated[
    str, StringConstraints(pattern=r"^[-A-Za-z0-9_./{}]+\.ya?ml$", max_length=200), AfterValidator(_layout)
]
ScheduleText = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_schedule)]
Explanation = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=300)]
NamespacePattern = Annotated[
    str, StringConstraints(pattern=r"^[-a-z0-9*]+$", max_length=63), AfterValidator(_namespace_pattern)
]
NamePattern = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._*]+$", max_length=64)]
ManagerPattern = Annotated[
    str, StringConstraints(pattern=r"^[-A-Za-z0-9._/*]+$", max_length=128), AfterValidator(_manager)
]
ImagePattern = Annotated[
    str, StringConstraints(pattern=r"^[-A-Za-z0-9._/:*]+$", max_length=255), AfterValidator(_image_pattern)
]
LabelPattern = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._/*]+$", max_length=253)]
ImageTemplate = Annotated[str, StringConstraints(max_length=255), AfterValidator(_image_template)]
Template = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=300), AfterValidator(_template)]
RelativePath = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\\]+$", max_length=255), AfterValidator(_relative)
]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=253)]
RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ObjectPlace = Annotated[str, StringConstraints(pattern=rf"^{_DNS}/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
WorkloadPlace = Annotated[
    str, StringConstraints(pattern=rf"^{_DNS}/[a-z]+/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"), AfterValidator(_workload)
]
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smh]$"), AfterValidator(_duration)]
LongDuration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smhd]$"), AfterValidator(_long)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
