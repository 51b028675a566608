"""What a pull request would do, and policy's verdict: the policy of the base, and every object as its circles'."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import partial

import pytest
from pull_requests import PullRequest, git

from infra_mcp.engine import check as module
from infra_mcp.engine.check import check
from infra_mcp.errors import InfraError
from infra_mcp.repository.builds import Builds

pytestmark = [pytest.mark.anyio, pytest.mark.promise("ci.headless")]

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
POLICY = """\
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
hosts = ["docs.example"]
limits = { replicas = 4 }

[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
versions = ["1.*"]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {space}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: docs}}}}
  template:
    metadata: {{labels: {{app: docs}}}}
    spec:
      {pod}
      containers:
        - name: docs
          image: {image}
"""


def deployment(
    image="registry.example/docs/site:1.4.0", space="docs-live", replicas=2, pod="hostNetwork: false", name="docs"
):
    return DEPLOYMENT.format(name=name, image=image, space=space, replicas=replicas, pod=pod)


BASE = {"infra.toml": POLICY, "apps/docs.yaml": deployment(), "README.md": "Hello\n"}
KUSTOMIZED = {
    "infra.toml": POLICY,
    "base/kustomization.yaml": "resources: [docs.yaml]\n",
    "base/docs.yaml": deployment(),
    "live/kustomization.yaml": "resources: [../base]\nnamespace: docs-live\n",
    "next/kustomization.yaml": "resources: [../base]\nnamespace: docs-next\n"
    "images: [{name: registry.example/docs/site, newTag: 1.5.0}]\n",
}
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: docs, namespace: docs-live}}
spec:
  interval: {interval}
  chart: {{spec: {{chart: docs, version: 3.1.0, sourceRef: {{kind: HelmRepository, name: charts}}}}}}
  values:
    image: {{repository: registry.example/docs/site, tag: {tag}}}
"""


@pytest.fixture
def checked(tmp_path):
    """Checks a pull request: its base's files, what it changes, and more."""

    async def run(base, head, *, links=None, circle=None, builds=None, given="main..head", seconds=60.0):
        made = PullRequest(tmp_path / "infra", base, head, links)
        found = await check(made.repo, given, circle=circle, now=NOW, seconds=seconds, builds=builds)
        assert git(made.repo, "status", "--porcelain") == "", "a check writes nothing"
        return found

    return run


def rules(found):
    return [(one["decision"], one["rule"]) for one in found["findings"]]


async def test_a_version_that_policy_names_passes_and_is_told_with_its_place(checked):
    found = await checked(BASE, {"apps/docs.yaml": deployment("registry.example/docs/site:1.5.0")})

    assert (found["decision"], found["findings"]) == ("allow", [])
    assert found["settings"] == [
        {
            "app": "docs",
            "environment": "docs-live",
            "setting": "version",
            "before": "1.4.0",
            "after": "1.5.0",
            "at": "apps/docs.yaml#spec.template.spec.containers[name=docs].image",
            "owner": "docs",
        }
    ]
    assert found["values"] == []
    assert [(one["target"], one["operation"]) for one in found["objects"]] == [("docs-live/deployment/docs", "update")]
    assert "+          image: registry.example/docs/site:1.5.0" in found["objects"][0]["diff"].replace(
        "- image", "  image"
    )
    assert [one["root"] for one in found["reach"]] == ["apps/docs.yaml"]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"image": "registry.example/docs/site:2.0.0"}, "apps.docs.versions"),
        ({"image": "registry.example/docs/site:latest"}, "version.latest"),
        ({"image": "elsewhere.example/docs/site:1.5.0"}, "circles.docs.images"),
        ({"pod": "hostNetwork: true"}, "pods.host-network"),
        ({"replicas": 5}, "circles.docs.limits.replicas"),
    ],
)
async def test_what_a_circle_may_not_have_is_refused_in_its_namespace(checked, changed, rule):
    found = await checked(BASE, {"apps/docs.yaml": deployment(**changed)})

    assert found["decision"] == "refuse"
    assert rule in [one["rule"] for one in found["findings"]]


async def test_the_policy_is_that_of_the_base_and_never_the_heads_own(checked):
    everything = '[circles.docs]\nnamespaces = ["*"]\nimages = ["*"]\nallow = ["pods.host-network"]\n'
    head = {"infra.toml": everything, "apps/docs.yaml": deployment(pod="hostNetwork: true")}

    found = await checked(BASE, head)

    assert rules(found)[0] == ("refuse", "pods.host-network")
    assert ("needs-approval", "policy") in rules(found)
    assert found["policy"] == f"sha256:{hashlib.sha256(POLICY.encode()).hexdigest()}"


async def test_an_invalid_new_policy_is_refused_and_an_invalid_base_cannot_be_checked(checked, tmp_path):
    found = await checked(BASE, {"infra.toml": "[circles"})

    assert ("refuse", "policy-invalid") in rules(found)
    made = PullRequest(tmp_path / "other", BASE | {"infra.toml": "[circles"}, {"README.md": "x"})
    with pytest.raises(InfraError) as caught:
        await check(made.repo, "main..head", circle=None, now=NOW, seconds=60)
    assert caught.value.code == "policy-invalid"


async def test_what_is_in_no_circles_namespace_is_peoples_and_only_what_is_new_in_it_is_for_them(checked):
    agent = deployment(name="agent", space="kube-agents", pod="hostNetwork: true", image="any.example/agent:1")
    base = BASE | {"apps/agent.yaml": agent}

    bumped = await checked(base, {"apps/agent.yaml": agent.replace("agent:1", "agent:2")})

    assert (bumped["decision"], bumped["findings"]) == ("allow", [])


async def test_what_is_new_in_a_namespace_of_no_circle_asks_people(checked):
    agent = deployment(name="agent", space="kube-agents", image="any.example/agent:1")

    found = await checked(
        BASE | {"apps/agent.yaml": agent},
        {
            "apps/agent.yaml": agent.replace("hostNetwork: false", "hostPID: true"),
            "apps/role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n",
        },
    )

    assert sorted(rules(found)) == [("needs-approval", "kinds.cluster-rbac"), ("needs-approval", "pods.host-pid")]


async def test_as_a_circle_everything_must_be_granted_to_it(checked):
    agent = deployment(name="agent", space="kube-agents", image="any.example/agent:1")

    found = await checked(BASE, {"apps/agent.yaml": agent}, circle="docs")

    assert {"circles.docs.namespaces", "circles.docs.images"} <= {one["rule"] for one in found["findings"]}


async def test_a_circle_that_the_base_does_not_have_is_a_wrong_argument(checked):
    with pytest.raises(InfraError, match="has no circle") as caught:
        await checked(BASE, {"README.md": "x"}, circle="nobody")

    assert caught.value.code == "invalid-argument"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('[[rules]]\nid = "live"\nmatch = {namespaces = ["*-live"]}\nrequire = {approvals = 2}\n', "needs-approval"),
        ('[[rules]]\nid = "live"\nmatch = {apps = ["docs"], actions = ["deploy"]}\ndeny = true\n', "refuse"),
        ('[[rules]]\nid = "live"\nmatch = {actions = ["dns_record"]}\ndeny = true\n', "allow"),
        ('[[rules]]\nid = "live"\nmatch = {peers = ["docs"]}\ndeny = true\n', "allow"),
        (
            '[[freeze]]\nid = "live"\nfrom = "2026-11-30T00:00:00Z"\nuntil = "2026-12-02T00:00:00Z"\n',
            "refuse",
        ),
        (
            '[[freeze]]\nid = "live"\nfrom = "2026-12-02T00:00:00Z"\nuntil = "2026-12-03T00:00:00Z"\n',
            "allow",
        ),
    ],
)
async def test_rules_and_freezes_hold_for_what_a_pull_request_amounts_to(checked, rule, expected):
    base = BASE | {"infra.toml": f"{POLICY}\n{rule}"}

    found = await checked(base, {"apps/docs.yaml": deployment("registry.example/docs/site:1.5.0")})

    assert found["decision"] == expected, found["findings"]
    assert all(one["rule"].partition(".")[2] == "live" for one in found["findings"])


async def test_a_document_that_nothing_delivers_is_no_ones_matter(checked):
    rule = '[[freeze]]\nid = "now"\nfrom = "2026-11-30T00:00:00Z"\nuntil = "2026-12-02T00:00:00Z"\n'

    found = await checked(BASE | {"infra.toml": POLICY + rule}, {"README.md": "Hello, world\n"})

    assert (found["decision"], found["reach"], found["objects"]) == ("allow", [], [])
    assert found["files"] == [{"path": "README.md", "operation": "edit", "kind": "file"}]


@pytest.mark.promise("delivery.reach")
async def test_every_overlay_that_a_base_reaches_is_built_and_the_one_that_overrides_it_is_not_reached(
    checked, kubectl
):
    head = {"base/docs.yaml": deployment("registry.example/docs/site:1.6.0")}

    found = await checked(KUSTOMIZED, head, builds=Builds(renderer=kubectl))

    assert [one["root"] for one in found["reach"]] == ["live"]
    assert [(one["target"], one["root"]) for one in found["objects"]] == [("docs-live/deployment/docs", "live")]
    assert found["reach"][0]["renderer"].startswith("kubectl")


async def test_a_new_overlay_and_one_that_goes_are_told_with_their_objects(checked, kubectl):
    head = {
        "live/kustomization.yaml": None,
        "later/kustomization.yaml": "resources: [../base]\nnamespace: docs-later\n",
    }

    found = await checked(KUSTOMIZED, head, builds=Builds(renderer=kubectl))

    assert sorted((one["target"], one["operation"]) for one in found["objects"]) == [
        ("docs-later/deployment/docs", "create"),
        ("docs-live/deployment/docs", "delete"),
    ]


async def test_a_build_that_the_head_breaks_is_refused(checked, kubectl):
    head = {
        "live/kustomization.yaml": "resources: [../base]\npatches: [{path: patch.yaml}]\n",
        "live/patch.yaml": "kind: X\n",
    }

    found = await checked(KUSTOMIZED, head, builds=Builds(renderer=kubectl))

    assert rules(found)[0] == ("refuse", "build-failed")


async def test_a_build_that_fetches_asks_people_and_nothing_is_fetched(checked, kubectl):
    head = {"live/kustomization.yaml": "resources: [../base, 'https://127.0.0.1:9/x?ref=v1']\n"}

    found = await checked(KUSTOMIZED, head, builds=Builds(renderer=kubectl))

    assert rules(found) == [("needs-approval", "effect.unrendered")]
    assert "a build fetches nothing" in found["reach"][0]["unbuilt"]


async def test_what_the_time_for_builds_did_not_suffice_for_counts_as_reached(checked, kubectl):
    head = {"base/docs.yaml": deployment(replicas=3)}

    found = await checked(KUSTOMIZED, head, builds=Builds(renderer=kubectl), seconds=0)

    assert {one["unbuilt"] for one in found["reach"]} == {"the time for builds was used up"}
    assert ("needs-approval", "effect.unrendered") in rules(found)


async def test_a_release_that_others_render_passes_by_a_version_that_policy_names(checked):
    base = BASE | {"apps/docs.yaml": RELEASE.format(interval="1h", tag="1.4.0")}

    found = await checked(base, {"apps/docs.yaml": RELEASE.format(interval="1h", tag="1.5.0")})

    assert (found["decision"], found["unrendered"]) == ("allow", [])


@pytest.mark.parametrize(("interval", "tag"), [("2h", "1.5.0"), ("2h", "1.4.0")])
async def test_a_release_that_changes_in_anything_else_needs_people(checked, interval, tag):
    base = BASE | {"apps/docs.yaml": RELEASE.format(interval="1h", tag="1.4.0")}

    found = await checked(base, {"apps/docs.yaml": RELEASE.format(interval=interval, tag=tag)})

    assert rules(found) == [("needs-approval", "effect.unrendered")]
    assert [(one["at"], one["before"], one["after"]) for one in found["values"]] == [
        ("apps/docs.yaml#spec.interval", "1h", "2h")
    ]


async def test_a_circle_that_may_have_what_is_not_rendered_needs_no_people_for_it(checked):
    policy = POLICY.replace("[apps.docs]", 'allow = ["effect.unrendered"]\n[apps.docs]', 1).replace(
        "limits = { replicas = 4 }\n\nallow", "limits = { replicas = 4 }\nallow"
    )
    base = BASE | {"infra.toml": policy, "apps/docs.yaml": RELEASE.format(interval="1h", tag="1.4.0")}

    found = await checked(base, {"apps/docs.yaml": RELEASE.format(interval="2h", tag="1.4.0")})

    assert found["decision"] == "allow", found["findings"]


async def test_the_content_of_a_secret_is_in_nothing_that_is_said(checked):
    secret = 'apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: docs-live}}\nstringData: {{word: "{}"}}\n'
    values = "password: {}\nport: 80\n"
    base = BASE | {"apps/s.yaml": secret.format("swordfish-1"), "values.yaml": values.format("swordfish-2")}

    found = await checked(
        base, {"apps/s.yaml": secret.format("tunafish-1"), "values.yaml": values.format("tunafish-2")}
    )

    assert "swordfish" not in str(found)
    assert "tunafish" not in str(found)
    assert {one["at"] for one in found["values"]} == {"apps/s.yaml#stringData.word", "values.yaml#password"}


async def test_a_secret_of_a_pull_request_hides_no_word_of_the_verdict(checked):
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: docs-live}\nstringData: {a: host-network}\n"

    found = await checked(BASE, {"apps/s.yaml": secret, "apps/docs.yaml": deployment(pod="hostNetwork: true")})

    assert "pods.host-network" in [one["rule"] for one in found["findings"]]


async def test_a_base_that_moved_on_is_said_and_its_own_changes_are_not_the_pull_requests(tmp_path):
    made = PullRequest(tmp_path / "infra", BASE, {"apps/docs.yaml": deployment("registry.example/docs/site:1.5.0")})
    git(made.repo, "checkout", "-q", "main")
    made.write({"other.yaml": "a: 1\n"})
    made.commit("Someone else's")

    found = await check(made.repo, "main..head", circle=None, now=NOW, seconds=60)

    assert [one["path"] for one in found["files"]] == ["apps/docs.yaml"]
    assert "BASE has moved on" in found["lacks"][0]


async def test_a_shallow_clone_says_what_it_lacks_and_how_to_get_it(tmp_path):
    made = PullRequest(tmp_path / "infra", BASE, {"README.md": "x"})
    run = partial(check, circle=None, now=NOW, seconds=60)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=head", f"file://{made.repo}", str(shallow))

    with pytest.raises(InfraError, match="shallow clone has no commit") as caught:
        await run(shallow, "origin/main..HEAD")
    assert (caught.value.code, "fetch-depth" in caught.value.next_step) == ("setup-failed", True)

    git(shallow, "fetch", "-q", "--depth=1", "origin", "main")
    found = await run(shallow, "FETCH_HEAD..HEAD")
    assert [one["path"] for one in found["files"]] == ["README.md"]
    assert "fetch-depth" in found["lacks"][0]


@pytest.mark.parametrize(
    "given", ["main", "..head", "main..", "main..head\ninfo main", "--help..head", "main .. head", "main....head"]
)
async def test_what_is_no_range_is_a_wrong_argument(checked, given):
    with pytest.raises(InfraError) as caught:
        await checked(BASE, {"README.md": "x"}, given=given)

    assert caught.value.code == "invalid-argument"


async def test_a_pull_request_beyond_the_bounds_is_refused_before_it_is_read(checked, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 3)

    found = await checked(BASE, {f"many/{at}.yaml": "a: 1\n" for at in range(4)})

    assert rules(found) == [("refuse", "check.size")]
    assert len(found["files"]) == 3
