"""Places on this machine: the repository, the state directory, the kubeconfig. Policy (`infra.toml`) is separate.

Only this reads environment variables, beside `cli/place` and `cli/connect`, which must not wait for its imports.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra_mcp import __version__
from infra_mcp.errors import InfraError

ENVIRONMENT = {
    "INFRA_MCP_REPO": "The infra repository, where the command is not run inside it.",
    "INFRA_MCP_STATE": "The state directory, instead of $XDG_STATE_HOME/infra-mcp/<repository id>.",
    "INFRA_MCP_KUBECONFIG": "The server's kubeconfig, or a list of them, instead of KUBECONFIG or ~/.kube/config.",
    "INFRA_MCP_TOKEN": "The token of the peer a command acts as.",
    "INFRA_MCP_URL": "The URL of a server elsewhere, instead of the one of a repository on this machine.",
    "INFRA_MCP_KUSTOMIZE": "The kustomize or kubectl that builds kustomizations, instead of the first of them on PATH.",
    "INFRA_MCP_HELM": "The Helm that installs and upgrades releases, instead of the first one on PATH.",
    "INFRA_MCP_TOFU": "The OpenTofu or Terraform to use, instead of the first tofu or terraform on PATH.",
    "INFRA_MCP_COREDNS": "The CoreDNS that checks zones, instead of the first one on PATH.",
    "INFRA_MCP_CACHE": "The cache for programs and charts, instead of $XDG_CACHE_HOME/infra-mcp.",
    "INFRA_MCP_NOTICE": "A program that the server runs when something waits for people; it gets JSON as its input.",
    "INFRA_MCP_LOG": "`json`: each record of the server's log is a JSON object on one line.",
    "INFRA_MCP_METRICS": "Who may read `/metrics` beside operators: a token's file, or `open`: all on this machine.",
    "INFRA_MCP_DASHBOARD": "`off`: a server that is started with it has no dashboard.",
    "INFRA_MCP_HTTP_LISTEN": "ADDRESS:PORT where `serve` also takes calls from other machines: `serve --listen`.",
    "INFRA_MCP_HTTP_URL": "The https URL under which other machines know it: `serve --public-url`.",
    "INFRA_MCP_HTTP_CERT": "The certificate for that, with its chain, as PEM: `serve --cert`.",
    "INFRA_MCP_HTTP_KEY": "The certificate's key, as PEM, for the server's user only: `serve --key`.",
    "INFRA_MCP_HTTP_PROXIES": "Addresses and networks of proxies that are trusted for it: `serve --trusted-proxy`.",
    "INFRA_MCP_SANDBOX": "The sandbox's own directory, instead of one below the state home.",
    "GITHUB_RUN_ID": "With GITHUB_REPOSITORY and GITHUB_JOB: the pipeline's run that an idempotency key is made from.",
    "CI_PIPELINE_ID": "With CI_PROJECT_PATH and CI_JOB_NAME: the same on GitLab.",
    "KUBEBUILDER_ASSETS": "A folder with a control plane's binaries for the sandbox, looked into before PATH.",
}

_TOLD = ("HOME", "PATH", "KUBECONFIG", "NO_PROXY", "no_proxy", "LANG", "TZ")


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else Path.home() / fallback  # noqa: PTH117 - a string from outside


def state_home() -> Path:
    """The directory under which all state directories lie."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "infra-mcp"


def state_of(top: Path, common: Path) -> Path:
    """The state directory of a repository, where no variable names another one.

    Args:
        top: of the working tree.
        common: the git folder that all of its worktrees share, resolved.
    """
    return state_home() / f"{top.name}-{hashlib.sha256(str(common).encode()).hexdigest()[:12]}"


def cache_home() -> Path:
    """The directory for files that can be made again."""
    own = os.environ.get("INFRA_MCP_CACHE")
    return Path(own) if own else _xdg("XDG_CACHE_HOME", ".cache") / "infra-mcp"


def sandbox_home() -> Path:
    """The directory of all sandboxes, each in a folder of its name."""
    own = os.environ.get("INFRA_MCP_SANDBOX")
    return Path(own).absolute() if own else state_home() / "sandbox"


def dashboard_wanted() -> bool:
    """Whether a server is to have the dashboard."""
    return os.environ.get("INFRA_MCP_DASHBOARD", "").lower() != "off"


@dataclass(frozen=True)
class Telemetry:
    """What the variables of OpenTelemetry's specification say of traces."""

    exporters: tuple[str, ...]  # none: no traces
    protocol: str
    service: bool  # whether they name the service


def given_telemetry() -> Telemetry:
    """Where to send traces. They are sent where OTEL_TRACES_EXPORTER or the endpoint of a collector is given."""
    given = os.environ.get
    named = given("OTEL_TRACES_EXPORTER", "")
    if not named and (given("OTEL_EXPORTER_OTLP_ENDPOINT") or given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        named = "otlp"
    exporters = tuple(one for part in named.split(",") if (one := part.strip()) and one != "none")
    off = given("OTEL_SDK_DISABLED", "").lower() == "true"
    protocol = given("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or given("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    service = bool(given("OTEL_SERVICE_NAME")) or "service.name=" in given("OTEL_RESOURCE_ATTRIBUTES", "")
    return Telemetry(() if off else exporters, protocol, service)


def log_form() -> str:
    """The form of the server's log: `json`, or empty for lines for people."""
    return "json" if os.environ.get("INFRA_MCP_LOG", "").lower() == "json" else ""


def metrics_readers() -> str:
    """Who may read the metrics beside operators: a file with a token, `open` for everyone, or empty for no one."""
    return os.environ.get("INFRA_MCP_METRICS", "")


def given_binaries() -> str:
    """A search path for a control plane's binaries."""
    return os.pathsep.join(filter(None, (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH"))))


def given_tool(variable: str) -> str | None:
    """The executable that an environment variable of ours names, where it names one."""
    return os.environ.get(variable) or None


def given_variables(names: Iterable[str]) -> dict[str, str]:
    """The values of variables of this process's environment, of those that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def without_tokens() -> dict[str, str]:
    """This process's environment without our own tokens, for a child that needs none."""
    return {name: value for name, value in os.environ.items() if name not in {"INFRA_MCP_TOKEN", "INFRA_MCP_URL"}}


def surroundings() -> dict[str, Any]:
    """What this process was started with: `pid`, `user` (its id), `umask`, `version` and `environment`.

    Of a variable that may hold a secret only the name is told: its value is `(set)`.
    """
    mask = os.umask(0o077)  # there is no way to read it alone
    os.umask(mask)
    told = (*(name for name in ENVIRONMENT if name != "INFRA_MCP_TOKEN"), *_TOLD)
    environment = {name: value if name in told or not value else "(set)" for name, value in os.environ.items()}
    who = {"pid": os.getpid(), "user": os.geteuid(), "umask": mask, "version": __version__}
    return who | {"environment": environment}


def given_run() -> tuple[str, str, str, str] | None:
    """The pipeline run this process is part of: system, project, run and job. None outside a pipeline.

    A run keeps its id when it, or a job of it, runs again, so the id is good for a key.
    """
    for system, project, run, job in (
        ("github", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_JOB"),
        ("gitlab", "CI_PROJECT_PATH", "CI_PIPELINE_ID", "CI_JOB_NAME"),
    ):
        if os.environ.get(run):
            return system, os.environ.get(project, ""), os.environ[run], os.environ.get(job, "")
    return None


@dataclass(frozen=True)
class Settings:
    """The places of one server."""

    repo: Path
    state_dir: Path
    kubeconfig: Path  # or several, in the form of KUBECONFIG

    @property
    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        return f"sqlite:///{self.state_dir / 'ledger.sqlite3'}"

    @property
    def socket(self) -> Path:
        """The unix socket, in a directory of its own with mode 0700."""
        return self.state_dir / "run" / "infra.sock"

    @property
    def policy_file(self) -> Path:
        """The policy file that people edit."""
        return self.repo / "infra.toml"

    @classmethod
    def find(cls, repo: str | None = None) -> Settings:
        """Settings for the repository named, or the one the working directory is in.

        Raises:
            InfraError: `setup-failed`, when there is no git repository there.
        """
        start = repo or os.environ.get("INFRA_MCP_REPO") or "."
        done = subprocess.run(
            ["git", "-C", start, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        lines = done.stdout.splitlines()
        if done.returncode or len(lines) != 2:  # noqa: PLR2004 - the two paths asked for
            fatal = next((line for line in done.stderr.splitlines() if line.startswith("fatal: ")), "")
            why = f" git: {fatal.removeprefix('fatal: ').rstrip('.')}." if fatal.isprintable() and fatal else ""
            what = f"{Path(start).absolute()} is not the working tree of a git repository.{why}"
            raise InfraError("setup-failed", what, next_step="Run it inside the infra repository, or name it: --repo.")
        top, common = Path(lines[0]), Path(lines[1]).resolve()
        own = os.environ.get("INFRA_MCP_STATE")
        state = Path(own) if own else state_of(top, common)
        config = os.environ.get("INFRA_MCP_KUBECONFIG") or os.environ.get("KUBECONFIG") or "~/.kube/config"
        return cls(repo=top, state_dir=state, kubeconfig=Path(config))
