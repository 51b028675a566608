"""How the server logs in at a remote: with credentials of its own, and none of the person whose account it runs in."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra_mcp.clients.token_file import read_token, require_private
from infra_mcp.text import one_line

# The remote's name in git's settings: its address is no argument, which others could read. No user's settings have one
# of this name, so a git of ours without the login reaches nothing by it.
NAME: Final = "infra-mcp"
_SSH_OPTIONS: Final = (
    "BatchMode=yes",  # no prompt for a password or passphrase
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "IdentityAgent=none",
    "IdentitiesOnly=yes",
    "ClearAllForwardings=yes",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
)


@dataclass(frozen=True)
class Login:
    """The server's own credentials for a remote.

    Args:
        token_file: holds the token for HTTP.
        user: the name that goes with the token; forges ignore it.
        key_file: the deploy key for ssh.
        known_hosts: the host keys that are accepted; another one, and an unknown host, is refused. Without it, those
            that the machine's administrator accepts for everybody.
    """

    token_file: Path | None = None
    user: str = "infra-mcp"
    key_file: Path | None = None
    known_hosts: Path | None = None


@dataclass(frozen=True)
class Remote:
    """A repository elsewhere, and the login for it.

    Args:
        url: as git takes it: `https://`, `ssh://`, `user@host:path`, `file://`.
        login: the credentials that are shown there.
    """

    url: str = field(repr=False)  # somebody may have written a password into it
    login: Login = Login()

    @property
    def shown(self) -> str:
        """The address without what stands before the host."""
        parts = urlsplit(self.url)
        if not parts.scheme:
            return one_line(self.url)
        host = parts.netloc.rpartition("@")[2]
        return one_line(f"{parts.scheme}://{host}{parts.path}")

    @property
    def is_http(self) -> bool:
        """Whether it is spoken to over HTTP."""
        return self.url.startswith(("http://", "https://"))

    def config(self) -> dict[str, str]:
        """Git's settings for a command that talks to it, for the environment of that command.

        The user's own git settings are read before these, for their proxies and certificates. So every setting that
        could log in with a person's credentials, or lead to another address, is set here again.

        Raises:
            InfraError: `setup-failed`, when a file of the login cannot be read or others may read it.
        """
        config = {
            f"remote.{NAME}.url": self.url,
            # The longest match wins: no rewriting of the user's leads elsewhere, or from HTTP to ssh.
            f"url.{self.url}.insteadOf": self.url,
            f"url.{self.url}.pushInsteadOf": self.url,
            "credential.helper": "",
            "core.askPass": "",
            "core.sshCommand": self._ssh(),
            "ssh.variant": "ssh",
            "http.followRedirects": "false",
            "http.cookieFile": "",
            "http.lowSpeedLimit": "0",  # a remote's hook may say nothing for long
            "protocol.version": "2",
            "fetch.unpackLimit": "1",  # one file, whose size the system bounds
            "fetch.negotiationAlgorithm": "default",
            "fetch.fsckObjects": "true",
        }
        if self.is_http:
            # git sends every configured header, and one set for the address replaces the others: the first of these two
            # settings (one key in two spellings) removes the user's.
            config[f"http.{self.url}.extraheader"] = ""
            if self.login.token_file:
                token = read_token(self.login.token_file)
                basic = base64.b64encode(f"{self.login.user}:{token}".encode()).decode()
                config[f"http.{self.url}.extraHeader"] = f"Authorization: Basic {basic}"
        return config

    def _ssh(self) -> str:
        """The ssh that is used: no agent, no configuration or key of a person, no prompt, no unknown host."""
        login, options = self.login, list(_SSH_OPTIONS)
        if login.key_file:
            require_private(login.key_file)
        options.append(f"IdentityFile={_ssh_path(login.key_file)}")
        options.append(f"UserKnownHostsFile={_ssh_path(login.known_hosts)}")
        if login.known_hosts:
            options.append("GlobalKnownHostsFile=none")
        words = ["ssh", "-F", "/dev/null", *(word for one in options for word in ("-o", one))]
        return " ".join(_word(one) for one in words)


def _ssh_path(path: Path | None) -> str:
    """A path as ssh_config(5) takes it, where blanks end one and percent signs mean something."""
    return '"' + str(path).replace("%", "%%") + '"' if path else "none"


def _word(text: str) -> str:
    """A word of the command that git gives to a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
