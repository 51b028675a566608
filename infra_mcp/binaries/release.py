"""Downloads programs from their projects' own release addresses.

Each file is checked against the SHA-256 that its publisher publishes. That finds a file cut short, changed by a proxy
or mixed up; it does not prove that the publisher was honest, nor that the address was not taken over (a build from a
Go module does: go.sum is part of this package). Nothing is run that was not checked.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import from_thread, to_thread

from infra_mcp.binaries.progress import Progress
from infra_mcp.gather import gather

_ANSWER_TIMEOUT = 5.0  # seconds; without the internet this fails fast
_READ_TIMEOUT = 30.0  # seconds without a byte
_MAX_CHECKSUMS = 10.0  # seconds for all checksums; a resolver that is not there can take long to fail
_CHUNK = 1 << 20


class File(NamedTuple):
    """A program's file at a release address."""

    url: str
    sha256: str
    name: str
    member: str = ""  # the file to take out, where `url` is a tar archive


async def download(wanted: Callable[[], Iterable[File]], what: str, into: Path, progress: Progress) -> str | None:
    """Download files into the empty folder `into`, and make them executable.

    Args:
        wanted: finds them, with their published checksums; it runs in a thread.
        what: the name of what is downloaded, for people.
        into: where they go.
        progress: reports how much has arrived.

    Returns:
        None when all are there and checked; otherwise the reason.
    """
    try:
        with anyio.fail_after(_MAX_CHECKSUMS):
            files = list(await to_thread.run_sync(wanted, abandon_on_cancel=True))
        done: dict[str, tuple[int, int]] = {}

        def received(name: str, size: int, whole: int) -> None:
            done[name] = size, whole
            sizes, wholes = zip(*done.values(), strict=True)
            known = sum(wholes) if len(done) == len(files) and all(wholes) else 0
            progress.update(f"downloading {what}", sum(sizes) / 1e6, known / 1e6, "MB")

        await gather(partial(to_thread.run_sync, _fetch, file, into, received) for file in files)
    except urllib.error.HTTPError as error:
        error.close()
        return f"{error.url} answered {error.code}"
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        return str(error) or "no answer in time"
    return None


def read(url: str) -> str:
    """A small published text, such as checksums."""
    with urllib.request.urlopen(url, timeout=_ANSWER_TIMEOUT) as answer:  # noqa: S310 - our own constant addresses
        text: str = answer.read(_CHUNK).decode()
        return text


def published(text: str, name: str) -> str:
    """The SHA-256 of the file `name` in a text of checksums, or the only one of a text without names.

    Raises:
        ValueError: there is none for it.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) == 1:
        return require_sha256(lines[0][0])
    sums = {words[1].lstrip("*"): words[0] for words in lines if len(words) == 2}  # noqa: PLR2004 - sum and name
    return require_sha256(sums.get(name, ""))


def require_sha256(text: str) -> str:
    """The text, which must be a SHA-256.

    Raises:
        ValueError: it is none.
    """
    if len(text) != hashlib.sha256().digest_size * 2 or not set(text) <= set("0123456789abcdef"):
        msg = "a published checksum is not a SHA-256"
        raise ValueError(msg)
    return text


def _fetch(file: File, into: Path, received: Callable[[str, int, int], None]) -> None:
    target = into / file.name
    taken = hashlib.sha256()
    size = 0
    with urllib.request.urlopen(file.url, timeout=_READ_TIMEOUT) as answer, target.open("wb") as out:  # noqa: S310 - as above
        whole = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
            taken.update(chunk)
            size += len(chunk)
            from_thread.check_cancelled()  # when another file failed
            from_thread.run_sync(received, file.name, size, whole)
    if taken.hexdigest() != file.sha256:
        target.unlink()
        msg = f"{file.url} is not what its publisher's checksum says"
        raise ValueError(msg)
    if file.member:
        with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
            member = archive.extractfile(file.member)
            if member is None:
                msg = f"{file.url} has no {file.member}"
                raise ValueError(msg)
            target.write_bytes(member.read())
    target.chmod(0o755)
