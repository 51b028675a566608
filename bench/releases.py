"""How long an upgrade of a Helm release of 20 objects takes, from the request to its ack, beside sed, git and helm.

Both sides upgrade a release of the same chart in a namespace of their own; rounds alternate.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import timing
from e2e.charts import Charts
from e2e.cluster_setup import ClusterSetup

from infra_mcp.binaries.find import find

HERE = Path(__file__).resolve().parent
AIM = 1.25  # times the rival's time
PAUSE = 0.7  # seconds before each upgrade
CONFIGS = 18  # with a Deployment and a Service
_IMAGE = "registry.example/charts/many"
_CHART = {
    "Chart.yaml": "apiVersion: v2\nname: many\nversion: 1.0.0\n",
    "values.yaml": f"image: {_IMAGE}:0.0.0\n",
    "templates/config.yaml": """\
{{- range $number := until 18 }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $.Release.Name }}-{{ $number }}}
data: {image: {{ $.Values.image | quote }}, number: {{ $number | quote }}}
{{- end }}
""",
    "templates/web.yaml": """\
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: 3
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: {{ .Values.image | quote }}}]
""",
}


@dataclass
class Upgrade:
    """One line of the result: seconds of each round."""

    ours: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    spans: list[dict[str, float]] = field(default_factory=list)

    def show(self) -> None:
        """Print it."""
        mine, theirs = statistics.median(self.ours), statistics.median(self.rival)
        print("\nupgrade of a Helm release of 20 objects: request -> ack, plan, policy, commit, upgrade and rollout")
        print("  rival: sed, git, helm upgrade --wait")
        verdict = f"aim {AIM}x the time: {'met' if mine <= theirs * AIM else 'NOT met'}"
        times = f"ours {mine * 1000:7.0f} ms   rival {theirs * 1000:7.0f} ms"
        print(f"  {times}   {mine / theirs:5.2f}x the time   {verdict}")
        kinds = sorted({kind for one in self.spans for kind in one})
        medians = {kind: statistics.median([one.get(kind, 0.0) for one in self.spans]) * 1000 for kind in kinds}
        print("  ours by step: " + ", ".join(f"{kind} {value:.0f} ms" for kind, value in medians.items()))


class _Many(Charts):
    """Two releases of the chart, ours and the rival's."""

    def write_files(self) -> None:
        super().write_files()
        for path, text in _CHART.items():
            to = self.repo / "charts" / "many" / path
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(text, encoding="utf-8")
        self.manifest.with_name("many.yaml").write_text(
            f"chart: ../../charts/many\nvalues:\n  image: {_IMAGE}:0.0.0\n", encoding="utf-8"
        )
        self.rival.parent.mkdir()
        self.rival.write_text(f"image: {_IMAGE}:0.0.0\n", encoding="utf-8")

    @property
    def rival(self) -> Path:
        """The values of the rival's release."""
        return self.repo / "by-hand" / "values.yaml"


async def contest(cluster_setup: ClusterSetup, home: Path, rounds: int) -> list[Upgrade]:
    """The line, on a control plane."""
    helm, line, spans = find("helm").path, Upgrade(), home.with_suffix(".spans")
    await asyncio.to_thread(home.mkdir)
    os.environ["INFRA_MCP_HELM"] = str(helm)
    scenario = _Many(cluster_setup, home, serve=False)
    async with scenario:
        await scenario.start(timing.start, {timing.VARIABLE: str(spans), "INFRA_MCP_HELM": str(helm)})
        await asyncio.to_thread(_by_hand, scenario, helm, "0.0.0", install=True)
        for turn in range(rounds + 1):
            await asyncio.sleep(PAUSE)
            wall, begin = time.time(), time.perf_counter()
            done = await scenario.release("many", values={"image": f"{_IMAGE}:1.0.{turn}"})
            took = time.perf_counter() - begin
            if not done.ok:
                raise SystemExit(done.text)
            steps = timing.spans(spans, wall, time.time())
            await asyncio.sleep(PAUSE)
            begin = time.perf_counter()
            await asyncio.to_thread(_by_hand, scenario, helm, f"1.0.{turn}")
            if turn:  # the first installs ours, and warms up
                line.ours.append(took)
                line.rival.append(time.perf_counter() - begin)
                line.spans.append(steps)
    return [line]


def _by_hand(scenario: _Many, helm: Path, version: str, *, install: bool = False) -> None:
    at, file = scenario.cluster_setup, str(scenario.rival.relative_to(scenario.repo))
    env = os.environ | {"KUBECONFIG": str(at.kubeconfig), "HELM_KUBECONTEXT": at.context}
    words = [scenario.repo, file, "charts/many", scenario.namespace, "rival", f"{_IMAGE}:{version}"]
    argv = [HERE / "rival_helm.sh", helm, *words]
    if install:
        argv = [helm, "install", "rival", scenario.repo / "charts/many", "-n", scenario.namespace, "--wait"]
    subprocess.run(list(map(str, argv)), check=True, stdin=subprocess.DEVNULL, env=env, stdout=subprocess.DEVNULL)
