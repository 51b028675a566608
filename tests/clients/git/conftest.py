"""A real git repository with the history and layout of a small infra repository, and its user's hands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from infra_mcp.clients.git import Git

FILES = {
    "apps/docs/web.yaml": "image: site:1.0\nreplicas: 2\n",
    "apps/docs/db.yaml": "image: db:1.0\n",
    "apps/live/web.yaml": "image: site:1.0\n",
    "README.md": "an infra repository\n",
}


class Repo:
    """The user's side of a repository: a checkout, and git as the user calls it."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def git(self, *args: str, at: Path | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["git", "-C", str(at or self.top), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"git {args}: {done.stderr}")
        return done.stdout.strip("\n")

    def write(self, path: str, text: str) -> None:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")

    def read(self, path: str) -> str:
        return (self.top / path).read_text(encoding="utf-8")

    def commit(self, files: dict[str, str], message: str = "by hand") -> str:
        for path, text in files.items():
            self.write(path, text)
            self.git("add", "--", path)
        self.git("commit", "-q", "-m", message)
        return self.head()

    def head(self, ref: str = "refs/heads/main") -> str:
        return self.git("rev-parse", ref)

    def state(self) -> tuple[str, ...]:
        """Everything of the user's that must not change when a move is refused."""
        files = {
            str(p.relative_to(self.top)): "-> " + str(p.readlink()) if p.is_symlink() else p.read_bytes().hex()
            for p in sorted(self.top.rglob("*"))
            if ".git" not in p.relative_to(self.top).parts and (p.is_symlink() or p.is_file())
        }
        return (
            self.head(),
            self.git("rev-parse", "HEAD"),
            self.git("symbolic-ref", "-q", "HEAD", check=False),
            self.git("ls-files", "-s"),
            self.git("stash", "list"),
            str(files),
        )


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's git configuration is the test's, not this machine's."""
    home = tmp_path / "home"
    home.mkdir()
    config = home / ".gitconfig"
    config.write_text(
        "[user]\n\tname = a user\n\temail = user@example\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return config


@pytest.fixture
def configure(own_configuration: Path) -> Callable[[str], int]:
    """Sets the user's whole git configuration."""
    return lambda text: own_configuration.write_text(text, encoding="utf-8")


@pytest.fixture
def new_repo(tmp_path: Path) -> Callable[..., Repo]:
    """Makes a repository with a first commit."""

    def make(*options: str, name: str = "infra") -> Repo:
        repo = Repo(tmp_path / name)
        repo.top.mkdir()
        repo.git("init", "-q", "-b", "main", *options)
        repo.commit(FILES, "first")
        return repo

    return make


@pytest.fixture
def repo(new_repo: Callable[..., Repo]) -> Repo:
    return new_repo()


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "repository.lock"


@pytest.fixture
async def git(repo: Repo, lock_file: Path) -> AsyncIterator[Git]:
    client = Git(repo.top, lock_file, patience=0.2, lock_patience=10)
    yield client
    await client.aclose()


@pytest.fixture
def slow_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], SlowGit]]:
    """Puts a git on PATH that stops before one of its commands, until it may continue."""
    made: list[SlowGit] = []

    def make(command: str) -> SlowGit:
        slow = SlowGit(tmp_path / "slow", command)
        monkeypatch.setenv("PATH", f"{slow.folder}{os.pathsep}{os.environ['PATH']}")
        made.append(slow)
        return slow

    yield make
    for slow in made:
        slow.close()


class SlowGit:
    """A wrapper round git; it reports on one FIFO and waits on another."""

    def __init__(self, folder: Path, command: str) -> None:
        folder.mkdir()
        self.folder = folder
        real = subprocess.run(["which", "git"], capture_output=True, encoding="utf-8", check=True).stdout.strip()
        started, go = folder / "started", folder / "go"
        os.mkfifo(started)
        os.mkfifo(go)
        # Both ends are held here, so that neither side's opening waits for the other.
        self._started = os.open(started, os.O_RDWR)
        self._go = os.open(go, os.O_RDWR)
        script = folder / "git"
        script.write_text(
            "#!/bin/sh\n"
            f'for word; do if [ "$word" = {command} ]; then echo "$$" >{started}; read -r line <{go}; break; fi; done\n'
            f'exec {real} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)

    def wait_started(self) -> int:
        """Block until the wrapper stands before the command; its process id."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._started, 1)
        return int(line)

    def let_go(self, times: int = 1) -> None:
        os.write(self._go, b"go\n" * times)

    def close(self) -> None:
        os.close(self._started)
        os.close(self._go)
