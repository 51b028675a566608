"""The action that sets or removes a record set of a DNS zone."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from infra_mcp.model.actions.base import ActionModel
from infra_mcp.model.names import RecordName, ZoneName

RecordType = Literal["A", "AAAA", "CNAME", "TXT", "SRV", "MX", "CAA", "PTR"]
_Value = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=2048)]


class DnsRecord(ActionModel):
    """All records of one name and type in a zone: set, or removed."""

    title: ClassVar[str] = "Set a DNS record"
    description: ClassVar[str] = (
        "Use this to set or remove the records of one name and type in a DNS zone that policy grants. Edits the zone "
        "in the repository, commits, updates the zone only where it is still as it was read, and answers when its name "
        "servers do. Leaves other names and types alone, and what another tool owns."
    )
    summary: ClassVar[str] = "set or remove a DNS record, and wait until the zone's name servers answer so"
    example: ClassVar[dict[str, object]] = {
        "zone": "docs.example",
        "name": "www",
        "type": "A",
        "values": ["198.51.100.7"],
        "ttl": 300,
    }
    positional: ClassVar[tuple[str, ...]] = ("zone", "name", "type")

    action: Literal["dns_record"] = "dns_record"
    zone: ZoneName = Field(description="The zone as policy names it: small letters, no final dot, e.g. docs.example.")
    name: RecordName = Field(description="The name relative to the zone, e.g. www; @ is the zone itself.")
    type: RecordType = Field(description="The type of its records.")
    values: tuple[_Value, ...] = Field(
        (),
        max_length=50,
        description="All its values as zone files write them, e.g. 10 mail.docs.example. for MX; TXT as plain text.",
    )
    ttl: int | None = Field(None, ge=1, le=2_147_483_647, description="Seconds; left out, as it is or as policy says.")
    remove: bool = Field(False, description="Remove the records instead; then without values.")

    @model_validator(mode="after")
    def _sets_or_removes(self) -> Self:
        if self.remove == bool(self.values):
            msg = "must have either values or remove = true"
            raise ValueError(msg)
        return self
