"""Whose name commits have, and their signature by a key of the server's own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra_mcp.clients.token_file import require_private
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

_SECONDS: Final = 20.0
_MAX_BYTES: Final = 20_000  # of a signature: one by RSA with 16,384 bits has 6,000


@dataclass(frozen=True)
class Committer:
    """Author and committer of the server's commits.

    Args:
        name: as git has it, `NAME <ADDRESS>`; a forge takes a signature for valid at an address of the key's account.
        key_file: a private ssh key without a passphrase; commits are not signed without one.
    """

    name: str = "infra-mcp <infra-mcp@localhost>"
    key_file: Path | None = None

    def commit(self, headers: str, message: str, when: int) -> bytes:
        """The commit object.

        Args:
            headers: its tree and parent, each with its end of line.
            message: the whole message.
            when: the date of both, in seconds since 1970.

        Raises:
            InfraError: `setup-failed`, when the key cannot be used.
        """
        who = f"{self.name} {when} +0000"
        headers += f"author {who}\ncommitter {who}\n"
        if self.key_file is None:
            return f"{headers}\n{message}".encode()
        signature = _sign(self.key_file, f"{headers}\n{message}".encode())
        # As git writes it: over the object without this header, whose later lines begin with a blank.
        name = "gpgsig" if len(headers.partition("\n")[0]) == len("tree ") + 40 else "gpgsig-sha256"
        lines = signature.replace("\n", "\n ")
        return f"{headers}{name} {lines}\n\n{message}".encode()


def _sign(key: Path, data: bytes) -> str:
    """Sign with ssh-keygen, as git does for `gpg.format=ssh`; no agent, no prompt."""
    require_private(key)
    try:
        done = subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key)],
            input=data,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"},
            start_new_session=True,  # no terminal to ask for a passphrase on
        )
    except FileNotFoundError as error:
        step = "Install the OpenSSH client, 8.2 or newer."
        raise InfraError("setup-failed", "ssh-keygen is not installed, or not on PATH.", next_step=step) from error
    except subprocess.TimeoutExpired as error:
        raise InfraError("setup-failed", f"ssh-keygen did not sign with {key} within {_SECONDS:g} s.") from error
    text = done.stdout.decode("ascii", "replace").strip()
    if done.returncode or not text.startswith("-----BEGIN SSH SIGNATURE-----\n") or len(text) > _MAX_BYTES:
        why = quoted(done.stderr.decode("utf-8", "replace").strip() or "no signature")
        step = "It must be a private ssh key without a passphrase: ssh-keygen -t ed25519 -N '' -f FILE"
        raise InfraError("setup-failed", f"Commits cannot be signed with {key}: {why}.", next_step=step)
    return text
