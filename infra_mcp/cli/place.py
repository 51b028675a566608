"""Which server a command uses: the repository's, found without starting git and in a millisecond, or that of a URL.

`Settings.find` asks git. Here git's own files are read where they are usual: a `.git` folder, or a `.git` file that
leads to the folder of a worktree or a submodule. Everything else is left to `Settings.find`, so both ways give one
answer (gitrepository-layout(5), and `setup_git_directory` in git's manual of its environment).
"""

from __future__ import annotations

import os

from infra_mcp.cli.failures import failure

# With one of these variables git looks elsewhere, or otherwise.
_REDIRECTED = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
)
_MAX_BYTES = 1 << 20  # of a file that is read here


class Place:
    """A repository and its server's state directory.

    Args:
        repo: the top of the working tree.
        state_dir: the state directory, which need not be there yet.
    """

    __slots__ = ("repo", "state_dir")

    def __init__(self, repo: str, state_dir: str) -> None:
        self.repo = repo
        self.state_dir = state_dir

    @property
    def socket(self) -> str:
        """The server's unix socket."""
        return f"{self.state_dir}/run/infra.sock"


def find(repo: str | None = None) -> Place:
    """The place of the repository named, or of the one the working directory is in.

    Raises:
        InfraError: `setup-failed`, when there is no git repository there.
    """
    found = _usual(repo or os.environ.get("INFRA_MCP_REPO") or ".")
    if found is None:
        from infra_mcp.settings import Settings  # noqa: PLC0415 - where git has to be asked

        settings = Settings.find(repo)
        return Place(str(settings.repo), str(settings.state_dir))
    top, common = found
    return Place(top, os.environ.get("INFRA_MCP_STATE") or _state_dir(top, common))


def url_of(url: str | None, repo: str | None) -> str | None:
    """The URL of the server to use, or None for the server of a repository. Options go before the environment.

    Raises:
        InfraError: `invalid-argument`, when both are given.
    """
    if url is not None and repo is not None:
        raise failure("invalid-argument", "--url and --repo name two servers.", "Leave one of them out.")
    return url or (None if repo is not None else os.environ.get("INFRA_MCP_URL")) or None


def token_of(token_file: str | None) -> str | None:
    """The token to act with: from the file named, else from INFRA_MCP_TOKEN, else none.

    Raises:
        InfraError: `setup-failed`, when the file cannot be read.
    """
    if not token_file:
        return os.environ.get("INFRA_MCP_TOKEN") or None
    try:
        return _read(token_file).strip()
    except (OSError, UnicodeDecodeError):
        raise failure("setup-failed", f"The token file {token_file} cannot be read.") from None


def _state_dir(top: str, common: str) -> str:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - without OpenSSL
    except ImportError:
        from hashlib import sha256  # noqa: PLC0415 - Python 3.12 and newer
    identity = sha256(common.encode()).hexdigest()[:12]
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.local/state")
    return f"{home}/infra-mcp/{os.path.basename(top)}-{identity}"


def _usual(start: str) -> tuple[str, str] | None:
    """The top of the working tree and the repository's own folder; None where git has to be asked."""
    if any(name in os.environ for name in _REDIRECTED):
        return None
    try:
        folder = os.path.realpath(start)
        device = os.stat(folder).st_dev
        while True:
            names = set(os.listdir(folder))
            if ".git" in names:
                return _repository(folder)
            above = os.path.dirname(folder)
            # A folder with HEAD may be a bare repository; git stops where another file system begins.
            if above == folder or "HEAD" in names or os.stat(above).st_dev != device:
                return None
            folder = above
    except (OSError, ValueError):
        return None


def _repository(top: str) -> tuple[str, str] | None:
    entry = own = f"{top}/.git"
    if os.path.isfile(entry):
        text = _read(entry)
        if not text.startswith("gitdir: "):
            return None
        own = os.path.join(top, text[8:].rstrip("\r\n"))
    linked = os.path.isfile(f"{own}/commondir")
    common = os.path.join(own, _read(f"{own}/commondir").rstrip("\r\n")) if linked else own
    config = _read(f"{common}/config").splitlines()
    usual = (
        not os.path.islink(entry)
        and "\n" not in top
        and _is_ref(_read(f"{own}/HEAD"))
        and set(os.listdir(common)) >= {"objects", "refs"}
        # git has rules of its own for other users' repositories
        and {os.stat(one).st_uid for one in (top, entry, own)} == {os.geteuid()}
        and not any("worktreeconfig" in line.lower() for line in config)
        # A linked worktree takes neither its path nor `bare` from there.
        and (linked or all(_in_place(line, own, top) for line in config))
    )
    return (top, os.path.realpath(common)) if usual else None


def _is_ref(head: str) -> bool:
    head = head.rstrip("\n")
    return head.startswith("ref: refs/") or (len(head) in (40, 64) and not head.strip("0123456789abcdef"))


def _in_place(line: str, own: str, top: str) -> bool:
    """Whether a line of the configuration lets the working tree be where `.git` is."""
    key, _, value = line.strip().partition(" = ")
    if "worktree" in key.lower():
        plain = key == "worktree" and value and not set(value) & set('"\\#;')
        return bool(plain) and os.path.realpath(os.path.join(own, value)) == top
    return "bare" not in key.lower() or (key, value) == ("bare", "false")


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(_MAX_BYTES)
