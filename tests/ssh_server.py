"""A git server over ssh on loopback: OpenSSH's sshd, with a host key, deploy key and port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["SshServer", "agent_with", "new_key"]

_UP = 20.0  # seconds for it to answer
_HOW = "apt-get install openssh-server, dnf install openssh-server"


def new_key(path: Path, comment: str = "test") -> str:
    """Make a key without a passphrase; its public line."""
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text(encoding="utf-8").strip()


@contextmanager
def agent_with(key: Path, socket: Path) -> Iterator[None]:
    """A person's agent that has the key; `SSH_AUTH_SOCK` is the caller's to set."""
    out, environment = subprocess.PIPE, os.environ | {"SSH_AUTH_SOCK": str(socket)}
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdin=subprocess.DEVNULL, stdout=out) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # its socket is there
            subprocess.run(["ssh-add", "-q", key], check=True, env=environment)
            yield
        finally:
            process.terminate()


def _sshd() -> str:
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"sshd is not there: {_HOW}")
    return found


@dataclass
class SshServer:
    """Serves git to whoever has the deploy key, as the account that runs the test.

    Args:
        folder: for its keys and files; made by it.
    """

    folder: Path
    port: int = 0
    host_key: str = ""

    def __post_init__(self) -> None:
        self.sshd = _sshd()
        self.folder.mkdir(mode=0o700)
        self.host_key = " ".join(new_key(self.folder / "host", "host").split()[:2])
        deploy = new_key(self.folder / "deploy", "deploy key")
        git = 'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\""'
        (self.folder / "authorized_keys").write_text(f"{git} {deploy}\n", encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def key_file(self) -> Path:
        """The deploy key, mode 0600."""
        return self.folder / "deploy"

    def url(self, path: Path) -> str:
        """The address of a repository."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def known_hosts(self, key: str = "") -> Path:
        """A file with the server's host key, or with another one."""
        file = self.folder / "known_hosts"
        file.write_text(f"[127.0.0.1]:{self.port} {key or self.host_key}\n", encoding="utf-8")
        return file

    @contextmanager
    def up(self) -> Iterator[SshServer]:
        """Answer until the block ends."""
        if os.getuid() == 0:  # what sshd wants of root, and a package's service makes at its start
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        options = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
        }
        argv = [self.sshd, "-D", "-e", "-f", "/dev/null"]
        argv += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait(process)
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _UP
        while "Server listening" not in self.log():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"sshd did not come up: {self.log()}")
            time.sleep(0.02)
