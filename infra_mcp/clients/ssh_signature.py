"""Checks signatures that people make with `ssh-keygen -Y sign`. The server holds no key that could make one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anyio import to_thread

from infra_mcp.clients import process
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

_SECONDS: Final = 20.0
_MAX_REASON: Final = 200  # characters
_GOOD: Final = re.compile(r'Good "[^"]*" signature for \S+ with \S+ key (SHA256:\S+)\s')


async def verify(text: bytes, signature: str, signer: str, keys: Sequence[str], namespace: str) -> str:
    """Check a signature against the keys that its signer may sign with.

    Args:
        text: what was signed.
        signature: as `ssh-keygen -Y sign` writes it.
        signer: the name that the keys are of.
        keys: public keys, each a type and a key.
        namespace: what the signature must be for. Source: PROTOCOL.sshsig and ssh-keygen(1), ALLOWED SIGNERS.

    Returns:
        The fingerprint of the key that made it.

    Raises:
        InfraError: `signature-refused`: it is of another text, namespace or key; `setup-failed`: no
            ssh-keygen is installed.
    """
    program = await to_thread.run_sync(shutil.which, "ssh-keygen")
    if program is None:
        step = "Install OpenSSH's client on the server's machine."
        raise InfraError("setup-failed", "ssh-keygen is not installed, or not on PATH.", next_step=step)
    folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "infra-mcp-signature-"))
    try:
        allowed, given = folder / "allowed", folder / "signature"
        lines = "".join(f'{signer} namespaces="{namespace}" {key}\n' for key in keys)
        await to_thread.run_sync(allowed.write_text, lines)
        await to_thread.run_sync(given.write_text, signature)
        names = ("-f", str(allowed), "-I", signer, "-n", namespace, "-s", str(given))
        env = {"PATH": os.defpath, "LC_ALL": "C"}
        argv = [program, "-Y", "verify", *names]
        ended = await process.run(argv, cwd=folder, env=env, seconds=_SECONDS, given=text)
    finally:
        await to_thread.run_sync(shutil.rmtree, folder, True)  # errors are ignored
    good = _GOOD.match(ended.out.decode("utf-8", "replace"))
    if ended.code or good is None:
        why = one_line((ended.err or ended.out).decode("utf-8", "replace"), _MAX_REASON)
        raise InfraError("signature-refused", f"The signature is not one of {signer} for this approval: {why}.")
    return good[1]
