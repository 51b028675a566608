"""Zone files that stand in a ConfigMap, as CoreDNS has them in a cluster: one key of its data is one zone file."""

from __future__ import annotations

from typing import Any, Final

from infra_mcp.model.rrset import RRset
from infra_mcp.repository.edit import rewrite
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.zones import master

KIND: Final = "ConfigMap"


def text_of(data: bytes, key: str) -> tuple[int, str]:
    """The document that has the key, and its zone file.

    Raises:
        Unreadable: no ConfigMap of the file has the key, or several do.
    """
    documents = values(compose(decode(data)))
    found = [(at, one["data"][key]) for at, one in enumerate(documents) if _has(one, key)]
    if len(found) != 1:
        raise Unreadable(1, f"{'several' if found else 'no'} {KIND} of the file has the key {key}")
    return found[0]


def _has(document: Any, key: str) -> bool:  # noqa: ANN401 - any JSON value
    held = document.get("data") if isinstance(document, dict) and document.get("kind") == KIND else None
    return isinstance(held, dict) and isinstance(held.get(key), str)


def read(data: bytes, zone: str, key: str, name: str | None = None) -> list[RRset]:
    """The record sets of the zone, or of one name of it.

    Raises:
        Unreadable: there is no such zone file.
    """
    return master.read(text_of(data, key)[1].encode(), zone, name)


def edited(data: bytes, zone: str, key: str, before: RRset | None, after: RRset | None) -> bytes:
    """The file with one record set of the zone changed, added or removed, and the serial raised.

    Raises:
        Unreadable: this cannot be done without changing more.
    """
    document, text = text_of(data, key)
    made = master.edited(text.encode(), zone, before, after).decode()
    return rewrite(data, [(document, ("data", key), made)])
