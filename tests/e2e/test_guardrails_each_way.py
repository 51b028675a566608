"""The table of rendered objects through a kustomization, a chart and a step of a set: each way the same rule refuses.

A deploy brings the object of a case by a build: its name is made of the version. A release brings it by a chart. In a
set a chart brings it into a namespace that the step before makes, or a build does in a later step.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from itertools import groupby

import pytest
from drivers.helm.space import helm_4
from e2e.charts import Charts
from policy.guard.guard_cases import CASES, ZONES

from infra_mcp.policy.guard.kinds import kind_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.promise("effect.guarded"),
    pytest.mark.promise("policy.dangerous"),
]

POLICY = """
[[tree.roots]]
path = "helm"
delivery = "helm"

[apps.site]
owner = "charts"
image = "registry.example/docs/site:{{version}}"
[apps.site.environments.live]
at = ["k8s/site"]
namespace = "{namespace}"

[pod_security]
"charts-{name}*" = "{level}"
"""
KUSTOMIZATION = """
resources: [deployment.yaml, case.yaml]
images: [{name: registry.example/docs/site, newTag: "1"}]
replacements:
  - source:
      kind: Deployment
      name: site
      fieldPath: spec.template.spec.containers.0.image
      options: {delimiter: ":", index: 1}
    targets:
      - select: {name: CASE}
"""
RENAMED = """\
        fieldPaths: [metadata.name]
        options: {delimiter: "-", index: 1}
"""
MARKED = """\
        fieldPaths: [metadata.annotations.version]
        options: {create: true}
"""
CHART = "apiVersion: v2\nname: case\nversion: 1.0.0\n"
# What is no matter of policy: the API server's own checks, and the rights of the circle there.
# And that a deploy brings no other image than the version's.
# Nor what another way's object in another namespace has of the same repository.
OTHERS = {"", "hosts.taken", "admission-denied", "object-invalid", "cluster-denied", "not-in-cluster", "effect.scope"}
# What a build itself makes another object: it sets the tag; the kind that a deploy writes itself is not bounded; a mark
# of ours that git has already is judged by what is live.
NOT_BY_A_BUILD = {
    "an-image-without-a-tag",
    "the-tag-latest",
    "an-image-by-digest-alone-where-every-tag-is-granted",
    "an-image-by-digest-alone-where-one-tag-is-granted",
    "nothing-may-be-rendered",
    "our-own-role-binding",
}
EVENTS = ("pre-install", "post-upgrade", "pre-rollback", "post-rollback", "pre-delete", "post-delete", "test")
ELSEWHERE = {
    "a-list": "pods.host-pid",  # kustomize and Helm take a List apart
    "an-object-without-an-api-version": "build-failed",  # of a build
}
# Their own names decide, so that they cannot be renamed with the version.
NAMED = {
    "our-own-role-binding",
    "a-host-that-is-an-object-s-name",
    "the-object-that-holds-a-zone",
    "the-records-of-a-zone-as-an-object",
    "namespace",
    "the-server-s-own-role",
}


def _chosen():
    """Of each rule the first two cases of the table, of what passes the first fourteen, and every way around a rule."""
    seen, around = Counter(), False
    for case in CASES:
        around |= case.name == "an-image-by-digest-alone-of-others"
        seen[case.rule, case.level] += 1
        if case.name != "a-list-of-pods" and (around or seen[case.rule, case.level] <= (2 if case.rule else 14)):
            yield case  # an empty list brings nothing


CHOSEN = list(_chosen())


class Ways(Charts):
    """A repository with one case at a time: as a resource of an app's kustomization, and as a chart."""

    case = None

    def apps(self, grace="1s"):  # noqa: ARG002 - the signature of scenarios
        level = self.case.level if self.case else "baseline"
        more = POLICY.format(namespace=self.namespace, name=self.name, level=level)
        zones = ZONES.format(namespace=self.namespace) + ZONES.format(namespace=self.made).replace(".ex", ".late.ex")
        return more + zones + (self.case.more if self.case else "")

    @property
    def made(self):
        """The namespace that a set would make."""
        return self.fresh("made", circle="charts")

    @property
    def manifest(self):
        return self.repo / "k8s" / "site" / "deployment.yaml"

    def write_policy(self, more):
        """Write infra.toml, with the grants of the case for the circle."""
        before, section, after = self.cluster_setup.policy(more).partition("[circles.charts]\n")
        rest = re.sub(r"(?m)^(?:images|allow|kinds) = .*\n", "", after.partition("\n\n")[0] + "\n")
        grants = self.case.grants if self.case else {}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in grants.items())
        text = f"{before}{section}{rest}{lines}\n{after.partition(chr(10) * 2)[2]}"
        self.settings.policy_file.write_text(text, encoding="utf-8")

    def write_files(self):
        self.manifest.parent.mkdir(parents=True)
        self.manifest.write_text(json.dumps(self.site), encoding="utf-8")
        (self.repo / "charts" / "case" / "templates").mkdir(parents=True)
        (self.repo / "charts" / "case" / "Chart.yaml").write_text(CHART, encoding="utf-8")
        self.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"}})

    def put(self, body):
        """Write an object as the resource of the kustomization and as the chart's."""
        name = body["metadata"]["name"]
        text = KUSTOMIZATION.replace("CASE", name) + (RENAMED if name == "case-1" else MARKED)
        (self.manifest.parent / "kustomization.yaml").write_text(text, encoding="utf-8")
        whole = copy.deepcopy(body)
        if self.case is None or self.case.scope == "docs-live":
            whole["metadata"]["namespace"] = self.namespace
        (self.manifest.parent / "case.yaml").write_text(json.dumps(whole), encoding="utf-8")
        (self.repo / "charts" / "case" / "templates" / "all.yaml").write_text(json.dumps(body), encoding="utf-8")

    @property
    def site(self):
        own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
        own |= {"seccompProfile": {"type": "RuntimeDefault"}}
        container = {"name": "site", "image": "registry.example/docs/site:1", "securityContext": own}
        labels = {"app": "site"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "site", "namespace": self.namespace, "labels": labels},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }

    def roll_out(self):
        super().roll_out()
        self.kubectl("apply", "-f", self.manifest)


@pytest.fixture
async def ways(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Ways(cluster_setup, tmp_path) as scenario:
        yield scenario


def _known(cluster_setup):
    """The kinds that the API server has, as group and kind."""
    lines = cluster_setup.run("api-resources", "--no-headers").stdout.splitlines()
    pairs = [(line.split()[-3].rpartition("/")[0], line.split()[-1]) for line in lines]
    return {f"{group}/{kind}" if group else kind for group, kind in pairs}


def _grants(case):
    return json.dumps([case.grants, case.policy], sort_keys=True)


def _body(scenario, case):
    """The object of a case, as someone puts it into the repository."""
    accounts = scenario.cluster_setup.accounts
    text = (
        json.dumps(case.rendered)
        .replace('"infra-mcp"', f'"{accounts}"')
        .replace("infra-mcp-server", f"{accounts}-server")
    )
    body = json.loads(text.replace(":infra-mcp", f":{accounts}"))
    for one in (body, *body.get("items", ())):
        if case.name not in NAMED:
            one["metadata"]["name"] = "case-1"
        elif one["kind"] == "Namespace":
            one["metadata"]["name"] = scenario.fresh("more", circle="charts")
        if case.scope not in (None, "docs-live"):
            one["metadata"]["namespace"] = case.scope.replace("shop-live", f"shop-{scenario.name}")
    return body


async def _against(scenario, client, case, action, arguments):
    """Ask for it; the rule that refuses it, or the code where none does; empty where it is planned."""
    reply = await scenario.call(client, "change", action=action, arguments=arguments, dry_run=not case.rule)
    if reply.ok:
        return ""
    found = re.search(r"\(rule ([^)]+)\)", reply.text)
    return found[1].replace("circles.charts.", "circles.docs.") if found else reply.data["error"]["code"]


async def _each(scenario, cases, asked):
    """Every case with what is against it. Nothing of one is committed."""
    found = {}
    async with scenario.peer("charts") as client:
        for _, group in groupby(sorted(cases, key=_grants), _grants):
            for at, case in enumerate(group):
                scenario.case = case
                scenario.put(_body(scenario, case))
                scenario.git("commit", "-q", "-a", "-m", case.name)
                if not at:
                    await scenario.accept_policy(scenario.apps())
                head = scenario.git("rev-parse", "HEAD")
                found[case.name] = await _against(scenario, client, case, *asked(case))
                assert scenario.git("rev-parse", "HEAD") == head, case.name
    return found


def _require(found, cases, elsewhere=None):
    """That each case is refused by its rule, or by none.

    What policy allows may be refused by the API server or by the rights of the circle there, but for most cases is not.
    """
    by_policy = {name: "" if by in OTHERS else by for name, by in found.items()}
    wanted = {case.name: (elsewhere or {}).get(case.name, case.rule) for case in cases}
    assert by_policy == wanted
    allowed = [name for name, rule in wanted.items() if not rule]
    assert sum(not found[name] for name in allowed) > len(allowed) / 2


def _require_nothing_is_live(scenario):
    """That no object of a case is there, and no release or namespace of one."""
    listed = scenario.kubectl("-n", scenario.namespace, "get", "all,configmaps,secrets,ingresses", "-o", "name")
    assert [line for line in listed.splitlines() if "/case" in line or "helm.release" in line] == []
    assert scenario.live_object("namespace", scenario.made) is None
    assert {row["state"] for row in scenario.requests()} <= {"refused", "previewed", "failed"}
    assert {row["commit_id"] for row in scenario.requests()} == {None}


def _release(space):
    return {"namespace": space, "release": "case", "chart": "./charts/case"}


def _step(name, action, **arguments):
    return {"name": name, "action": action, "arguments": arguments}


async def test_a_deploy_whose_build_brings_an_object_is_refused_by_the_rule_of_the_object(ways):
    cases = [case for case in CHOSEN if case.name not in NOT_BY_A_BUILD]

    found = await _each(ways, cases, lambda _: ("deploy", {"app": "site", "version": "2"}))

    assert len(cases) >= 80
    _require(found, cases, ELSEWHERE)
    _require_nothing_is_live(ways)


async def test_a_release_whose_chart_brings_an_object_is_refused_by_the_rule_of_the_object(ways):
    kinds = _known(ways.cluster_setup)
    cases = [case for case in CHOSEN if kind_of(case.rendered) in kinds or case.rendered["kind"] == "List"]

    found = await _each(ways, cases, lambda _: ("helm_release", _release(ways.namespace)))

    assert len(cases) >= 80
    _require(found, cases, ELSEWHERE)
    _require_nothing_is_live(ways)


async def test_a_step_of_a_set_is_refused_by_the_rule_of_the_object_and_no_step_is_carried_out(ways):
    kinds = _known(ways.cluster_setup)
    cases = [case for case in CHOSEN if kind_of(case.rendered) in kinds and case.name not in NOT_BY_A_BUILD]
    space = _step("space", "provision_namespace", namespace=ways.made)
    chart = _step("case", "helm_release", **_release(ways.made))
    build = _step("case", "deploy", app="site", version="2")

    def asked(case):
        return "change_set", {"steps": [space, chart if cases.index(case) % 2 else build]}

    found = await _each(ways, cases, asked)

    assert len(cases) >= 80
    _require(found, cases)
    _require_nothing_is_live(ways)


POD = """\
apiVersion: v1
kind: Pod
metadata: {name: case, annotations: {helm.sh/hook: EVENT}}
spec: {hostPID: true, containers: [{name: a, image: "registry.example/docs/site:1"}]}
"""


@pytest.mark.promise("helm.hooks")
async def test_a_chart_is_judged_with_its_subcharts_and_with_the_hooks_of_every_event_but_tests(ways):
    ways.case = next(case for case in CASES if case.name == "plain-deployment")
    await ways.accept_policy(ways.apps())
    chart = ways.repo / "charts" / "case"
    found = {}
    async with ways.peer("charts") as client:
        for event in EVENTS:
            (chart / "templates" / "hook.yaml").write_text(POD.replace("EVENT", event), encoding="utf-8")
            ways.git("add", ".")
            ways.git("commit", "-q", "-m", event)
            arguments = {"action": "helm_release", "arguments": _release(ways.namespace), "dry_run": True}
            found[event] = (await ways.call(client, "change", **arguments)).text
        (chart / "templates" / "hook.yaml").unlink()
        part = chart / "charts" / "part"
        (part / "templates").mkdir(parents=True)
        (part / "Chart.yaml").write_text(CHART.replace("case", "part"), encoding="utf-8")
        (part / "templates" / "all.yaml").write_text(POD.replace(", annotations: {helm.sh/hook: EVENT}", ""))
        ways.git("add", ".")
        ways.git("commit", "-q", "-m", "A subchart")
        found["subchart"] = (await ways.call(client, "change", **arguments)).text

    assert {event for event, text in found.items() if "(rule pods.host-pid)" not in text} == {"test"}
