"""Keys of OpenSSH, made by a test for itself, and what is signed with them."""

from __future__ import annotations

import subprocess
from functools import cached_property
from pathlib import Path


class Key:
    """A key pair without a passphrase."""

    def __init__(self, folder: Path, name: str, kind: str = "ed25519") -> None:
        self.private = folder / name
        argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "of a test", "-f", self.private]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

    @cached_property
    def public(self) -> str:
        """The line of its .pub file."""
        return self.private.with_name(f"{self.private.name}.pub").read_text(encoding="utf-8").strip()

    @cached_property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        argv = ["ssh-keygen", "-l", "-f", self.private]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[1]

    def sign(self, text: bytes, namespace: str) -> str:
        """A signature of a text."""
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", self.private]
        return subprocess.run(argv, check=True, input=text, stdout=subprocess.PIPE).stdout.decode()
