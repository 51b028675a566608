"""What policy no longer grants when a plan is to be carried out is refused then, whatever it granted before."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest
from e2e.scenario import APP, Scenario

from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("policy.circles")]

HOST = "live.docs.example"
RULE = '\n[[rules]]\nid = "ask"\nmatch = { circles = ["docs"] }\nrequire = { approvals = 1 }\n'
DEPLOY = ("deploy", {"app": "docs", "version": "0.13.4"})
SCALE = ("change", {"action": "scale", "arguments": {"app": "docs", "replicas": 3}})
# What is asked for, the grant that goes meanwhile, what is there instead, and the rule that refuses.
CASES = [
    (DEPLOY, 'images = ["registry.example/docs/*"]', 'images = ["registry.example/docs/*:0.13.3"]', "images"),
    (DEPLOY, f'hosts = ["{HOST}"]', 'hosts = ["www.docs.example"]', "hosts"),
    (DEPLOY, '"provision_namespace", "deploy", "restart"', '"provision_namespace", "restart"', "actions"),
    (SCALE, "limits = { replicas = 10", "limits = { replicas = 2", "limits.replicas"),
    ("space", 'namespaces = ["docs-*"]', 'namespaces = ["docs-nothing"]', "namespaces"),
    ("space", 'pull_secrets = ["X"]', "pull_secrets = []", "pull_secrets"),
]


@dataclass
class Cut(Scenario):
    """A scenario whose app has a host, and whose circle can lose a grant."""

    cut: tuple[str, str] = ("", "")

    def apps(self, grace: str = "1s") -> str:
        """The app, and a rule by which everything waits for an approval."""
        return super().apps(grace) + RULE

    def write_policy(self, more: str) -> None:
        """Write infra.toml, without the grant."""
        head, mark, rest = self.cluster_setup.policy(more).partition('labels = ["team", "turn"]\n')
        assert mark
        text = f'{head}{mark}hosts = ["{HOST}"]\n{rest}'
        assert text.count(self.cut[0]) or not self.cut[0]
        self.settings.policy_file.write_text(text.replace(*self.cut, 1), encoding="utf-8")

    def write_files(self) -> None:
        """Write the app with a host in its pod's annotations."""
        super().write_files()
        labels = "      labels: {app: docs}\n    spec:"
        text = APP.format(namespace=self.namespace)
        assert text.count(labels) == 1
        named = f"      annotations: {{external-dns.alpha.kubernetes.io/hostname: {HOST}}}\n{labels}"
        self.manifest.write_text(text.replace(labels, named), encoding="utf-8")

    async def to(self, old: str = "", new: str = "") -> None:
        """Put the policy in force with this grant instead of that one."""
        self.cut = (old, new)
        await self.accept_policy(self.apps())


async def test_a_grant_that_goes_between_plan_and_apply_refuses_what_waits_and_no_approval_helps(
    cluster_setup, tmp_path
):
    async with Cut(cluster_setup, tmp_path) as scenario:
        await scenario.to()
        head = scenario.git("rev-parse", "HEAD")
        for number, (asked, old, new, rule) in enumerate(CASES):
            space = scenario.fresh(f"s{number}")
            tool, arguments = asked if asked != "space" else _space(space)
            parked = await scenario.tool(tool, **arguments)
            assert parked.data["state"] == "awaiting_approval", parked.text

            await scenario.to(old, new)
            row = await _refused(scenario, parked.data["request"])

            assert f'"rule":"circles.docs.{rule}"' in row["receipt"].replace('": "', '":"'), row["receipt"]
            with pytest.raises(InfraError, match="approval-mismatch"):
                await scenario.approve(parked.data["request"], parked.data["effect_digest"])
            again = await scenario.tool(tool, **arguments)
            assert f"(rule circles.docs.{rule})" in again.text
            assert scenario.live_object("namespace", space) is None
            await scenario.to()
        assert scenario.git("rev-parse", "HEAD") == head
        assert scenario.image() == "registry.example/docs/site:0.13.3"


def _space(name):
    return "provision_namespace", {"namespace": name, "pull_secrets": ["X"]}


async def _refused(scenario, request):
    with anyio.fail_after(60):
        while (row := scenario.rows("SELECT * FROM requests WHERE id = ?", request)[0])["state"] != "refused":
            assert row["open"], row
            await anyio.sleep(0.02)
    return row
