"""Names and numbers from outside, each with the syntax it follows.

A name that passes cannot be an option, a path, a template or a second line: only such names reach files, URLs and
child processes.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Frozen(BaseModel):
    """A value: compared by content, never changed, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _version(value: str) -> str:
    name, _, digest = value.partition("@")
    parts = name.split("/")
    wrong = ".." in name or any(part.endswith((".", ".lock")) for part in parts)
    if wrong or len(name) > _MAX_TAG or (digest and len(parts) > 1):
        msg = "must be a tag, a tag and its digest (1.4.2@sha256:…), a chart's version or a git ref"
        raise ValueError(msg)
    return value


def _stays(value: str) -> str:
    """A path, or an address, none of whose steps leads up.

    Raises:
        ValueError: one does.
    """
    if ".." in value.split("/"):
        msg = "must have no .. in it"
        raise ValueError(msg)
    return value


_MAX_TAG = 128
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"

# RFC 1123 label: namespaces, service accounts.
DnsLabel = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
# Kubernetes label syntax: an optional DNS prefix, a name of at most 63.
LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=rf"^({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$", max_length=253
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=rf"^({_QUALIFIED})?$", max_length=63)]
# Repowire's grammar of peers and circles, less the leading dot or dash that would make it an option or a hidden file.
PeerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Circle = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=40)]
ClusterName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
WorkspaceName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
IssuerName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
HookName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
AppName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
PullSecretName = Annotated[str, StringConstraints(pattern=rf"^{_QUALIFIED}$", max_length=63)]
# A path segment: the names of overlays, values files and folders.
EnvironmentName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)
]
# As short as the names that refusals repeat: a longer one may be a secret (`model.schema`).
SettingName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=40)]
# A tag by the OCI distribution spec, with its digest or without; a chart's version by Semantic Versioning, with its
# build metadata; a git ref by git check-ref-format, less what a shell or a template would read.
_PART = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
Version = Annotated[
    str,
    StringConstraints(pattern=rf"^{_PART}(/{_PART})*(@sha256:[0-9a-f]{{64}})?$", max_length=200),
    AfterValidator(_version),
]
# As `ledger.ids.request_id` makes them.
RequestId = Annotated[str, StringConstraints(pattern=r"^req-[0-9a-z]{1,60}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
# Kubernetes quantities, the forms people write; no exponents.
Cpu = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{0,5}m|[1-9][0-9]{0,3}(\.[0-9]{1,3})?|0\.[0-9]{1,3})$")]
Memory = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti)$")]

_LOOKS = str.maketrans({"1": "l", "0": "o"})


def alike(one: str, other: str) -> bool:
    """Whether two names can be mistaken for each other: they differ by case or look-alike characters only."""
    return not _looks(one).isdisjoint(_looks(other))


def _looks(name: str) -> frozenset[str]:
    """The readings of a name: a capital I is an i or an l, and so is a 1."""
    texts = (name, name.replace("I", "l"), name.replace("1", "i"))
    read = (text.lower().translate(_LOOKS) for text in texts)
    return frozenset(text.replace("rn", "m").replace("vv", "w") for text in read)


# A zone as policy names it: lower case, without the last dot; an internationalised one in its ASCII form (RFC 5890).
_OF_DOMAIN = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
ZoneName = Annotated[str, StringConstraints(pattern=rf"^{_OF_DOMAIN}(\.{_OF_DOMAIN})*$", max_length=253)]
# A record's name relative to its zone: `@` for the zone itself, `*` for a wildcard's first label.
RecordName = Annotated[
    str, StringConstraints(pattern=rf"^(@|\*|(\*\.)?{_OF_DOMAIN}(\.{_OF_DOMAIN})*)$", max_length=253)
]

# A Helm release: RFC 1123 labels with dots between, at most as long as Helm takes.
ReleaseName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=53)]
# A chart by its name, by its address in an OCI registry, or by its path in the repository.
_CHART = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
ChartReference = Annotated[
    str,
    StringConstraints(
        pattern=rf"^({_CHART}|oci://[A-Za-z0-9][A-Za-z0-9._~:/%+-]*/{_CHART}|\./[A-Za-z0-9._/-]*[A-Za-z0-9])$",
        max_length=500,
    ),
    AfterValidator(_stays),
]
ChartRepository = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9][A-Za-z0-9._~:/%+-]*$", max_length=500)
]
# One version by Semantic Versioning, with a leading v or without.
ChartVersion = Annotated[
    str,
    StringConstraints(pattern=r"^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$", max_length=128),
]
