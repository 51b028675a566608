"""The edit of a deploy of an app whose workload policy names: its environment, its digest, its other containers."""

import anyio
import pytest

from infra_mcp.actions.base import Look
from infra_mcp.actions.deploy import edit
from infra_mcp.actions.restart import edit as restart
from infra_mcp.actions.scale import edit as scale
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.scale import Scale
from infra_mcp.policy.policy import load

OLD, NEW = (f"sha256:{part * 32}" for part in ("0a", "1b"))
SITE = "registry.example/docs/site"
POLICY = """
[clusters.sandbox]
context = "c"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
ENVIRONMENTS = """
[apps.docs.environments.staging]
namespace = "docs-staging"
at = ["staging"]
[apps.docs.environments.production]
namespace = "docs-live"
at = ["production"]
"""
DECLARED = """
[apps.docs.settings.version]
type = "version"
at = ["docs.yaml#spec.template.spec.containers[name=side].image"]
"""
EDITS = {"deploy": (edit, Deploy, {"version": "1.1"}), "scale": (scale, Scale, {"replicas": 3})}


def _text(namespace="docs-live", web="1.0", side="", first="", name="docs"):
    init = f"initContainers:\n        - name: migrate\n          image: {SITE}:{first}\n      " if first else ""
    beside = f"        - name: side\n          image: {SITE}:{side}\n" if side else ""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: 2
  template:
    spec:
      {init}containers:
        - name: web
          image: {SITE}:{web}
{beside}"""


TWO = {"staging/docs.yaml": _text("docs-staging"), "production/docs.yaml": _text()}


@pytest.fixture
def made(tree_of):
    """A function that makes the edit of a deploy, or of another action."""

    async def live(_):
        raise AssertionError("nothing live has to be read")

    def make(files, policy=POLICY, action=None, edit=edit, **fields):
        files = {"docs.yaml": files} if isinstance(files, str) else files
        look = Look("preview", "", load(policy), "sandbox", tree_of(files), live)
        return anyio.run(edit, look, action or Deploy(app="docs", **{"version": "1.1"} | fields))

    return make


def _changed(made):
    return {path: made.tree.read(path).decode() for path in made.tree.changed}


@pytest.mark.promise("repos.instances")
@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("action", EDITS)
def test_the_environment_that_is_named_is_changed_and_no_other(made, environment, action):
    edit, model, fields = EDITS[action]

    done = made(TWO, POLICY + ENVIRONMENTS, model(app="docs", environment=environment, **fields), edit)

    before = TWO[f"{environment}/docs.yaml"]
    after = before.replace("1.0", "1.1") if action == "deploy" else before.replace("replicas: 2", "replicas: 3")
    assert _changed(done) == {f"{environment}/docs.yaml": after}


@pytest.mark.promise("repos.instances")
@pytest.mark.parametrize("action", EDITS)
@pytest.mark.parametrize(("policy", "environment", "code"), [
    (POLICY + ENVIRONMENTS, None, "environment-needed"),
    (POLICY + ENVIRONMENTS, "elsewhere", "not-found"),
    (POLICY, "staging", "not-found"),
    (POLICY, "elsewhere", "not-found"),
])  # fmt: skip
def test_an_environment_that_is_not_the_workloads_is_never_taken_for_it(made, action, policy, environment, code):
    edit, model, fields = EDITS[action]

    with pytest.raises(InfraError) as caught:
        made(TWO, policy, model(app="docs", environment=environment, **fields), edit)

    assert caught.value.code == code


def test_an_app_that_the_repository_calls_otherwise_is_found_by_its_workload(made):
    policy = (POLICY + ENVIRONMENTS).replace("apps.docs", "apps.handbook")
    action = Deploy(app="handbook", version="1.1", environment="staging")

    assert list(_changed(made(TWO, policy, action))) == ["staging/docs.yaml"]


@pytest.mark.promise("repos.instances")
def test_a_restart_is_of_the_environment_that_is_named(made):
    one = made(TWO, POLICY + ENVIRONMENTS, Restart(app="docs", environment="staging"), restart)
    with pytest.raises(InfraError, match="environment elsewhere") as unknown:
        made(TWO, POLICY, Restart(app="docs", environment="elsewhere"), restart)
    with pytest.raises(InfraError) as several:
        made(TWO, POLICY + ENVIRONMENTS, Restart(app="docs"), restart)

    assert [work.target.scope for work in one.beside] == ["docs-staging"]
    assert [work.target.scope for work in made(TWO, POLICY, Restart(app="docs"), restart).beside] == ["docs-live"]
    assert (unknown.value.code, several.value.code) == ("not-found", "environment-needed")


@pytest.mark.fault("r4")
@pytest.mark.promise("repos.digest")
def test_a_version_alone_does_not_drop_the_digest_of_a_workload_that_policy_names(made):
    with pytest.raises(InfraError) as caught:
        made(_text(web=f"1.0@{OLD}"))

    assert caught.value.code == "digest-needed"
    assert "docs.yaml" in caught.value.what
    assert OLD in caught.value.what


@pytest.mark.fault("r4")
@pytest.mark.promise("repos.digest")
@pytest.mark.parametrize(("web", "fields", "after", "notes"), [
    (f"1.0@{OLD}", {"version": f"1.1@{NEW}"}, f"1.1@{NEW}", 0),
    ("1.0", {"version": f"1.1@{NEW}"}, f"1.1@{NEW}", 0),
    (f"1.0@{OLD}", {"drop_digest": True}, "1.1", 1),
    (f"1.1@{OLD}", {}, f"1.1@{OLD}", 0),
    (f"1.1@{OLD}", {"version": f"1.1@{NEW}"}, f"1.1@{NEW}", 0),
])  # fmt: skip
def test_a_digest_is_kept_replaced_or_dropped_only_as_the_plan_says(made, web, fields, after, notes):
    done = made(_text(web=web), **fields)

    assert _changed(done) == ({} if after == web else {"docs.yaml": _text(web=after)})
    assert len([note for note in done.notes if OLD in note]) == notes


@pytest.mark.promise("repos.digest")
@pytest.mark.parametrize("tag", ["{version}", "v{version}-slim"])
@pytest.mark.parametrize("environments", ["", ENVIRONMENTS], ids=["workload", "located"])
def test_a_digest_goes_behind_the_tag_that_policy_makes_of_the_version(made, tag, environments):
    policy = POLICY.replace("{version}", tag) + environments
    path, named = ("production/docs.yaml", "production") if environments else ("docs.yaml", None)

    done = made(
        {path: _text(web=f"{tag.format(version='1.0')}@{OLD}")}, policy, version=f"1.1@{NEW}", environment=named
    )

    assert _changed(done) == {path: _text(web=f"{tag.format(version='1.1')}@{NEW}")}


@pytest.mark.promise("repos.locator")
@pytest.mark.parametrize(("before", "after", "note"), [
    ({"first": "0.9"}, {"first": "0.9", "web": "1.1"}, "initContainers[migrate] stays at 0.9."),
    ({"first": "1.0"}, {"first": "1.1", "web": "1.1"}, ""),
    ({"side": "0.5"}, {"side": "1.1", "web": "1.1"}, "containers[side] moves along from 0.5."),
    ({"side": "1.0"}, {"side": "1.1", "web": "1.1"}, ""),
])  # fmt: skip
def test_a_container_of_another_version_is_not_moved_along_unsaid(made, before, after, note):
    done = made(_text(**before))

    assert _changed(done) == {"docs.yaml": _text(**after)}
    assert (note in done.notes) if note else not done.notes


@pytest.mark.promise("repos.locator")
def test_the_place_that_policy_declares_for_the_version_decides_also_where_it_names_the_workload(made):
    done = made(_text(side="0.5"), POLICY + DECLARED)

    assert _changed(done) == {"docs.yaml": _text(side="1.1")}
