"""Trees made of a dictionary of files, without a repository."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import anyio
import pytest

from infra_mcp.clients.git import Entry
from infra_mcp.repository.load import load
from infra_mcp.repository.value import Tree


class Files:
    """What a tree reads of a repository, from memory; counts the blobs it was asked for."""

    def __init__(self, files: dict[str, str | bytes], modes: dict[str, str] | None = None) -> None:
        self.files = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        self.modes = modes or {}
        self.read: list[str] = []

    async def list_tree(self, commit: str, paths: Sequence[str]) -> dict[str, Entry]:
        assert commit
        return {
            path: Entry(self.modes.get(path, "100644"), self.oid(path))
            for path in self.files
            if any(root == "." or path.startswith(f"{root}/") for root in paths)
        }

    def read_blobs_now(self, oids: Iterable[str], largest: int) -> dict[str, bytes]:
        wanted = set(oids)
        self.read += wanted
        found = {self.oid(path): data for path, data in self.files.items() if self.oid(path) in wanted}
        return {oid: data for oid, data in found.items() if len(data) <= largest}

    def oid(self, path: str) -> str:
        return hashlib.sha1(self.files[path], usedforsecurity=False).hexdigest()


@pytest.fixture
def tree_of() -> Callable[..., Tree]:
    """Makes a tree of files; the whole repository is the root unless roots are named."""

    def make(files: dict[str, str | bytes], *roots: str, modes: dict[str, str] | None = None) -> Tree:
        return anyio.run(load, Files(files, modes), "c" * 40, roots or (".",), "sandbox")

    return make


@pytest.fixture
def files() -> type[Files]:
    return Files
