"""A scenario whose branch is at a remote, from where somebody else's pipeline makes it live, by `kubectl apply -k`.

The pipeline is this module's, and no part of the product: a thread that looks at the remote's branch and applies what
it says when the test lets it.
"""

from __future__ import annotations

import subprocess
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.scenario import Scenario
from git_server import GitServer

__all__ = ["WORKLOAD", "Delivered", "Pipeline"]

WORKLOAD = 'workload = "{namespace}/deployment/docs"\ntimeout = "{timeout}"\n'
_APP = """\
[apps.docs]
owner = "docs"
workload = "{namespace}/deployment/docs"
image = "registry.example/docs/site:{{version}}"
grace = "1s"
{more}
"""
_FILES = {
    "kustomization.yaml": """
        namespace: {namespace}
        resources: [deployment.yaml]
        images:
          - name: registry.example/docs/site
            newTag: 1.0.0   # set by releases
        """,
    "deployment.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: docs
        spec:
          replicas: 2
          selector:
            matchLabels: {app: docs}
          template:
            metadata:
              labels: {app: docs}
            spec:
              terminationGracePeriodSeconds: 0
              containers:
                - name: site
                  image: registry.example/docs/site
        """,
}


@dataclass
class Pipeline:
    """Applies what the branch of a bare repository says, whenever it moves.

    Args:
        scenario: whose it is.
        runs: set while it may work.
        tag: what it deploys instead of what the branch says: a pipeline with a fault.
    """

    scenario: Delivered
    runs: threading.Event = field(default_factory=threading.Event)
    applied: list[str] = field(default_factory=list)
    fault: str = ""

    @contextmanager
    def up(self) -> Iterator[Pipeline]:
        """Work until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._work, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _work(self, stop: threading.Event) -> None:
        done = self.scenario.head()
        while not stop.wait(0.05):
            if self.runs.is_set() and (head := self.scenario.head()) != done:
                self._apply(head)
                done = head

    def _apply(self, commit: str) -> None:
        work = self.scenario.home / "pipeline" / commit
        work.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "-C", str(self.scenario.origin), "archive", commit], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(work)], input=archive.stdout, check=True)
        self.scenario.kubectl("apply", "-k", work / "k8s" / "docs")
        self.applied.append(commit)


@dataclass
class Delivered(Scenario):
    """See the module. Nothing that the peer has a driver of its own for is in this repository.

    Args:
        evidence: the keys of `[apps.docs.evidence]`; empty for none.
        write: how commits get to the branch.
    """

    evidence: str = WORKLOAD
    write: str = "push"
    timeout: str = "60s"
    git_server: GitServer | None = None

    @property
    def manifest(self) -> Path:
        """The workload."""
        return self.repo / "k8s" / "docs" / "deployment.yaml"

    @property
    def origin(self) -> Path:
        """The bare repository that the remote is."""
        return self.home / "origin.git"

    def head(self) -> str:
        """The commit of the branch at the remote."""
        done = subprocess.run(
            ["git", "-C", str(self.origin), "rev-parse", "main"], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def subjects(self) -> list[str]:
        """The commits of the branch at the remote since the beginning, the first first."""
        words = ["git", "-C", str(self.origin), "log", "--reverse", "--format=%s", "main"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[1:]

    def show(self, path: str) -> str:
        """A file as the branch at the remote has it."""
        words = ["git", "-C", str(self.origin), "show", f"main:{path}"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def apps(self, grace: str = "1s") -> str:
        """The section of the app."""
        text = self.evidence.replace("{namespace}", self.namespace).replace("{timeout}", self.timeout)
        more = f"[apps.docs.evidence]\n{text}" if text else ""
        return _APP.format(namespace=self.namespace, more=more).replace('"1s"', f'"{grace}"')

    def write_policy(self, more: str) -> None:
        """As the session's, with all of the repository delivered by others."""
        super().write_policy(more)
        text = self.settings.policy_file.read_text(encoding="utf-8")
        text = text.replace('branch = "main"', f'branch = "main"\nwrite = "{self.write}"')
        text = text.replace('path = "k8s"', 'path = "k8s"\ndelivery = "external"')
        self.settings.policy_file.write_text(text, encoding="utf-8")

    def write_files(self) -> None:
        """Write the files of the app."""
        for path, given in _FILES.items():
            file = self.manifest.parent / path
            file.parent.mkdir(parents=True, exist_ok=True)
            text = textwrap.dedent(given).lstrip("\n").replace("{namespace}", self.namespace)
            file.write_text(text, encoding="utf-8")

    def roll_out(self) -> None:
        """Apply the app as people do, push the repository, and wait until it runs."""
        self.kubectl("create", "namespace", self.namespace)
        self.cluster_setup.apply(self.cluster_setup.bindings(self.namespace))
        self.kubectl("apply", "-k", self.manifest.parent)
        self.kubectl("-n", self.namespace, "rollout", "status", "deployment/docs", "--timeout=60s")
        self.git("clone", "-q", "--bare", self.repo, self.origin)
        subprocess.run(["git", "-C", str(self.origin), "config", "http.receivepack", "true"], check=True)
        self.git("remote", "add", "origin", f"{self.git_server.url}/origin.git" if self.git_server else self.origin)

    def image(self) -> str:
        """The image that is live."""
        live = self.live_object("deployment", "docs", self.namespace)
        assert live is not None
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"])
