"""The sections of infra.toml that say how a change which others deliver shows that it is live."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from infra_mcp.model.names import Frozen
from infra_mcp.policy.grammar import Duration, Text, WorkloadPlace, one_or_several
from infra_mcp.policy.kinds import NameServer

_MAX_HOST: Final = 253
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")


def _url(value: str) -> str:
    """An address of a page, whose host stands there as it is.

    Raises:
        ValueError: it is none.
    """
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and parts.port != 0 and parts.username is None and not parts.fragment
        host = parts.hostname or ""
    except ValueError:
        fits, host = False, ""
    if not fits or not _is_host(host):
        msg = "must be an http or https address with a host, without user and fragment"
        raise ValueError(msg)
    return value


def _is_host(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return len(text) <= _MAX_HOST and _HOST.fullmatch(text) is not None


def _template(value: str) -> str:
    if re.sub(r"\{version\}", "", value).count("{version"):
        msg = "must spell {version} with both braces"
        raise ValueError(msg)
    return value


Url = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=1000), AfterValidator(_url)]
# An account or app as forges call it: `ci-bot`, `github-actions[bot]`.
ForgeAccount = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_. \[\]]*$", max_length=100)]
# A JSON pointer (RFC 6901).
Pointer = Annotated[str, StringConstraints(pattern=r"^(/[^\x00-\x1f\x7f]*)?$", max_length=500)]
# A value that an answer must have, in which `{version}` stands for the version of the change.
Expected = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=500), AfterValidator(_template)]
DomainName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9])?\.?$", max_length=254)
]


class CheckRules(Frozen):
    """A check run or commit status at the forge, and the account or app that must have set it."""

    name: Text
    by: ForgeAccount
    applies: Literal["on-branch", "before-merge"] = "on-branch"


class DeploymentRules(Frozen):
    """A deployment at the forge, and the account or app that must have made its state."""

    environment: Text
    by: ForgeAccount


class DnsRules(Frozen):
    """An answer of a name server that is authoritative for the name."""

    name: DomainName
    server: NameServer
    type: Literal["A", "AAAA", "CNAME", "MX", "NS", "SRV", "TXT", "CAA"] = "A"
    value: Annotated[tuple[Expected, ...], BeforeValidator(one_or_several), Field(max_length=20)] = ()


class UrlRules(Frozen):
    """An answer over HTTP: all of its text, or one value of its JSON."""

    at: Url
    value: Expected
    pointer: Pointer | None = None
    hosts: tuple[Text, ...] = Field(default=(), max_length=10)
    private: bool = False


class EvidenceRules(Frozen):
    """What shows that a change is live where others deliver it. All that is named must hold."""

    check: CheckRules | None = None
    deployment: DeploymentRules | None = None
    workload: Annotated[tuple[WorkloadPlace, ...], BeforeValidator(one_or_several), Field(max_length=20)] = ()
    dns: DnsRules | None = None
    url: UrlRules | None = None
    timeout: Duration = "30m"

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if not (self.check or self.deployment or self.workload or self.dns or self.url):
            msg = "must name a check, a deployment, a workload, dns or a url"
            raise ValueError(msg)
        return self

    def faults(self, *, forge: bool, clusters: bool, proposes: bool) -> Iterator[tuple[str, str]]:
        """The keys that the rest of a policy gives no ground for, each with what is missing.

        Args:
            forge: whether the policy names a forge.
            clusters: whether it names a cluster.
            proposes: whether changes may be proposed, so that there is a commit before the merge.
        """
        if not forge:
            yield from ((key, "is read at a forge, and forge.kind is missing") for key in self._of_forge)
        if self.workload and not clusters:
            yield "workload", "is read in a cluster, and the policy names none"
        if self.check and self.check.applies == "before-merge" and not proposes:
            yield "check.applies", "is before-merge, and tree.write proposes nothing that is merged"

    @property
    def _of_forge(self) -> tuple[str, ...]:
        return tuple(key for key in ("check", "deployment") if getattr(self, key))
