"""A repository as a value, for drivers that read more than manifests."""

import hashlib

from infra_mcp.clients.git import Entry
from infra_mcp.repository.value import Base, Tree

__all__ = ["tree_of"]


def tree_of(files, roots=("helm",), links=None):
    """The tree of a commit that holds these files; texts or bytes by path."""
    blobs, entries = {}, {}
    for path, content in {**files, **(links or {})}.items():
        data = content.encode() if isinstance(content, str) else content
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        blobs[oid] = data
        entries[path] = Entry("120000" if path in (links or {}) else "100644", oid)
    fetch = lambda oids: {oid: blobs[oid] for oid in oids}  # noqa: E731 - one line
    return Tree(Base("0" * 40, "sandbox", (), entries, {}, fetch, plain=tuple(roots)))
