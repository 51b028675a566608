"""A real Gitea on loopback for tests, and what people do at it: never with the product's own client.

`gitea` is one server for all tests of a worker. Each test makes its own repository and accounts in it: names are given
once. A test that needs the forge away starts its own `GiteaServer`.
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from gitea_people import Account, GiteaRefusedError, Repository
from gitea_program import NEEDED, program

__all__ = ["Account", "GiteaRefusedError", "GiteaServer", "Repository", "gitea", "gitea_server"]

PASSWORD = "made-up-0123456789"
OURS = ("write:repository", "write:issue", "read:user")  # the scopes that the server's own token should have
_UP, _CALL, _LIFE = 60.0, 30.0, 3000.0  # seconds
_PORTS = 5  # that are tried: somebody may take one before Gitea does
_CONFIG = """\
APP_NAME = Gitea of a test
RUN_MODE = prod
WORK_PATH = {home}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {home}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = made-up
PASSWORD_HASH_ALGO = pbkdf2$1000$32
[service]
DISABLE_REGISTRATION = true
[repository]
DEFAULT_BRANCH = main
[webhook]
ALLOWED_HOST_LIST = loopback
[actions]
ENABLED = true
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
[cron.update_checker]
ENABLED = false
[mailer]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
"""


@dataclass
class GiteaServer:
    """One Gitea.

    Args:
        home: an empty folder for all that it keeps.
        port: on loopback; stays the same when it is started again.
        admin: the first account, which administers the forge.
    """

    home: Path
    port: int = 0
    admin: Account = field(default_factory=lambda: Account("root", ""))
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _watch: threading.Timer | None = field(default=None, repr=False)
    _names: Iterator[int] = field(default_factory=lambda: count(1), repr=False)

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers."""
        path = program()
        if path is None:
            pytest.skip(NEEDED)
        if self.port:
            self._launch(path)
        else:
            self.home.mkdir(parents=True, exist_ok=True)
            self._prepare(path)
        if not self._is_up():
            pytest.fail(f"Gitea did not start: {self.log()}")

    def _launch(self, path: Path) -> None:
        with (self.home / "log").open("ab") as log:
            argv = [path, "web", "--config", self.home / "app.ini"]
            self._process = subprocess.Popen(argv, env=self._env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._watch = threading.Timer(_LIFE, self._process.kill)
        self._watch.daemon = True
        self._watch.start()

    def _is_up(self) -> bool:
        """Wait until it answers, and not somebody else's who had its port first; False where it ends."""
        until = time.monotonic() + _UP
        while self._process is not None and self._process.poll() is None and time.monotonic() < until:
            try:
                self.call("GET", "/user", by=self.admin)
            except OSError:
                time.sleep(0.02)
            except GiteaRefusedError:
                return False
            else:
                return True
        return False

    def stop(self) -> None:
        """End it; what it keeps stays."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._process = None
        if self._watch is not None:
            self._watch.cancel()

    def wait(self, ready: Callable[[], Any]) -> Any:
        """Wait until something at it is so, and give what was found; the test fails where it does not become so."""
        until, failure = time.monotonic() + _UP, ""
        while time.monotonic() < until:
            try:
                if found := ready():
                    return found
            except (OSError, GiteaRefusedError) as error:
                failure = str(error)
            if self._process is not None and self._process.poll() is not None:
                pytest.fail(f"Gitea ended: {self.log()}")
            time.sleep(0.02)
        return pytest.fail(f"Gitea did not come so far ({failure}): {self.log()}")

    def log(self) -> str:
        """The end of what it logged."""
        return (self.home / "log").read_text("utf-8", "replace")[-2000:]

    def call(self, method: str, path: str, body: Any = None, *, by: Account | str = "") -> Any:
        """Ask its API; gives the parsed answer, or None where it is empty.

        Args:
            method: of HTTP.
            path: below `/api/v1`, quoted.
            body: sent as JSON.
            by: an account, or a token.

        Raises:
            GiteaRefusedError: any answer but 2xx.
        """
        token = by.token if isinstance(by, Account) else by
        return self._send(method, path, body, {"Authorization": f"token {token}"} if token else {})

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, dict(headers), method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_CALL) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise GiteaRefusedError(error.code, error.read().decode("utf-8", "replace")) from None
        return json.loads(text) if text.strip() else None

    def account(self, name: str = "", *, admin: bool = False) -> Account:
        """A new account; its name has a number behind it, so that each is made once."""
        name = f"{name or 'person'}{next(self._names)}"
        body = {"username": name, "email": f"{name}@test.example", "password": PASSWORD, "must_change_password": False}
        self.call("POST", "/admin/users", body, by=self.admin)
        if admin:
            body = {"admin": True, "login_name": name, "source_id": 0}
            self.call("PATCH", f"/admin/users/{name}", body, by=self.admin)
        return Account(name, self.token(name, "all"))

    def token(self, account: Account | str, *scopes: str) -> str:
        """A new token of an account, with these scopes of Gitea's: `write:repository`, `all`, …"""
        name = account if isinstance(account, str) else account.name
        basic = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
        body = {"name": f"token{next(self._names)}", "scopes": list(scopes)}
        made = self._send("POST", f"/users/{name}/tokens", body, {"Authorization": f"Basic {basic}"})
        return str(made["sha1"])

    def token_file(self, account: Account, *scopes: str) -> Path:
        """A new token in a file of its own, mode 0600; by default with the scopes of the server's own."""
        path = self.home / f"token-file{next(self._names)}"
        path.touch(0o600)
        path.write_text(self.token(account, *(scopes or OURS)), encoding="utf-8")
        return path

    def repository(self, owner: Account, name: str = "infra", **people: str) -> Repository:
        """A new repository of an account with a first commit on `main`.

        Args:
            owner: whose it is.
            name: of the repository; one number of the server's is added.
            people: other accounts' names, and what each may do: read, write or admin.
        """
        body = {"name": f"{name}{next(self._names)}", "auto_init": True, "default_branch": "main"}
        made = Repository(self, owner, self.call("POST", "/user/repos", body, by=owner)["name"])
        for person, permission in people.items():
            made.call("PUT", f"/collaborators/{person}", {"permission": permission})
        return made

    def _prepare(self, path: Path) -> None:
        """Make its database and the first account, and start it on a port that is free."""
        self._configure(path)
        self._run(path, "migrate")
        words = ["--username", self.admin.name, "--password", PASSWORD, "--email", "root@test.example", "--admin"]
        self._run(path, "admin", "user", "create", *words, "--must-change-password=false")
        words = ["--username", self.admin.name, "--token-name", "first", "--scopes", "all", "--raw"]
        said = self._run(path, "admin", "user", "generate-access-token", *words)
        self.admin = Account(self.admin.name, said.split()[-1])
        for _ in range(_PORTS):
            self._launch(path)
            if self._is_up():
                return
            self.stop()
            self._configure(path)

    def _configure(self, path: Path) -> None:
        self.port = _free_port()
        config = _CONFIG.format(home=self.home, port=self.port, static=path.parent)
        (self.home / "app.ini").write_text(config, encoding="utf-8")

    def _run(self, path: Path, *words: str) -> str:
        argv = [path, *words, "--config", self.home / "app.ini"]
        done = subprocess.run(
            argv, env=self._env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_UP, check=False
        )
        if done.returncode:
            pytest.fail(f"gitea {words[0]} ended with {done.returncode}: {done.stderr[-1000:]}{done.stdout[-500:]}")
        return done.stdout

    def _env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true"}


def _free_port() -> int:
    """A port that is free now, and below those that the system gives to others meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def gitea_server(home: Path) -> Iterator[GiteaServer]:
    """A server in a folder, up until the block ends."""
    server = GiteaServer(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    """The Gitea of all tests of this worker; a test is skipped where there is none."""
    with gitea_server(tmp_path_factory.mktemp("gitea")) as server:
        yield server
