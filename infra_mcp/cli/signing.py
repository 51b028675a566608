"""Signs with a person's own key, on their machine: the key or its agent stays there, and the server never sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from infra_mcp.errors import InfraError


def sign(text: bytes, key: Path, namespace: str) -> str:
    """Sign a text as `ssh-keygen -Y sign` does, which may ask for a passphrase, or for a touch of a security key.

    Args:
        text: what is signed.
        key: the private key, or the public one where an agent has the other.
        namespace: what the signature is for. Source: PROTOCOL.sshsig.

    Returns:
        The signature, in OpenSSH's armor.

    Raises:
        InfraError: `setup-failed`: there is no ssh-keygen, or it did not sign.
    """
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key.expanduser())]
    try:
        # What it says and asks goes to the person's terminal.
        done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, check=False)
    except FileNotFoundError as error:
        step = "Install OpenSSH's client."
        raise InfraError("setup-failed", "ssh-keygen is not installed, or not on PATH.", next_step=step) from error
    if done.returncode or not done.stdout:
        step = "Name a private key, or the public one of a key that your agent has."
        raise InfraError("setup-failed", f"ssh-keygen did not sign with {key}.", next_step=step)
    return done.stdout.decode("ascii", "replace")
