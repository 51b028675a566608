"""A reference to a container image, read as container runtimes read it (distribution/reference)."""

from __future__ import annotations

from typing import NamedTuple

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class Image(NamedTuple):
    """The parts of a reference, as it is written; an absent part is empty."""

    named: str  # registry and repository: `redis`, `registry.example:5000/docs/site`
    tag: str
    digest: str  # `sha256:…`

    @classmethod
    def parse(cls, reference: str) -> Image:
        """Take a reference apart. Any text gives parts, also one that is no reference."""
        rest, _, digest = reference.partition("@")
        head, slash, last = rest.rpartition("/")
        name, _, tag = last.partition(":")
        return cls(f"{head}{slash}{name}", tag, digest)

    @property
    def repository(self) -> str:
        """Registry and repository in full: Docker Hub's short names are those of `docker.io`, `redis` of its `library`.

        `redis`, `library/redis`, `docker.io/redis` and `docker.io/library/redis` are one.
        """
        first, slash, rest = self.named.partition("/")
        is_host = slash and ("." in first or ":" in first or first == "localhost")
        host, path = (first, rest) if is_host else ("docker.io", self.named)
        if host not in _HUB:
            return f"{host}/{path}"
        return f"docker.io/{path}" if "/" in path else f"docker.io/library/{path}"

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every name of the same repository, without a tag: on Docker Hub there are several."""
        full = self.repository
        if not full.startswith("docker.io/"):
            return (self.named,)
        path = full.removeprefix("docker.io/")
        paths = (
            (path, path.removeprefix("library/")) if path.count("/") == 1 and path.startswith("library/") else (path,)
        )
        return (*paths, *(f"{host}/{one}" for host in _HUB for one in paths))

    @property
    def last(self) -> str:
        """The last part of the repository: `site` of `registry.example/docs/site`."""
        return self.named.rpartition("/")[2]

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.named}{tag}" + (f"@{self.digest}" if self.digest else "")
