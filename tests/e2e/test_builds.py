"""An app that kustomize builds, with a base and an overlay for each environment: the whole way, and back."""

from __future__ import annotations

import json

import pytest
from e2e.cluster_setup import suffix
from e2e.overlays import Overlays

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

STAGING, PRODUCTION = "overlays/staging/kustomization.yaml", "overlays/production/kustomization.yaml"


@pytest.fixture
async def overlays(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario with a server, and docs in two environments."""
    async with Overlays(cluster_setup, tmp_path) as made:
        yield made


def _bytes(overlays):
    folder = overlays.file("")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _deploy(overlays, version, environment="production", **more):
    return await overlays.tool("deploy", **{"app": "docs", "version": version, "environment": environment} | more)


async def _change(overlays, action, environment="production", **fields):
    given = {"app": "docs", "environment": environment, **fields}
    return await overlays.tool("change", action=action, arguments=given)


def _config(overlays):
    """The name of the ConfigMap that the live workload reads."""
    site = overlays.workload("production")["spec"]["template"]["spec"]["containers"][0]
    return site["envFrom"][0]["configMapRef"]["name"]


@pytest.mark.core
@pytest.mark.promise("repos.overlay", "tree.kustomize")
async def test_a_deploy_to_one_environment_sets_its_overlay_alone(overlays):
    files, staging = _bytes(overlays), overlays.workload("staging")

    made = await _deploy(overlays, "1.2.0")

    assert made.ok, made.text
    assert overlays.site("production") == "registry.example/docs/site:1.2.0"
    assert "docs 1.2.0 runs as" in made.text
    assert "3 of 3 replicas ready" in made.text
    files[PRODUCTION] = files[PRODUCTION].replace(b"newTag: 1.0.1", b"newTag: 1.2.0")
    assert _bytes(overlays) == files
    assert overlays.workload("staging") == staging


@pytest.mark.promise("plan.unchanged", "plan.change-set")
async def test_what_git_says_already_is_compared_with_the_cluster_and_set_there(overlays):
    assert (await _deploy(overlays, "1.0.1")).data["state"] == "unchanged"
    words = ("set", "image", "deployment/live-docs", "site=registry.example/docs/site:0.9.9")
    overlays.kubectl("-n", overlays.production, *words)

    made = await _deploy(overlays, "1.0.1")

    assert made.data["state"] == "landed", made.text
    assert overlays.site("production") == "registry.example/docs/site:1.0.1"
    assert overlays.git("log", "--format=%s").splitlines() == ["The docs site as it runs"]


@pytest.mark.promise("plan.adopt", "plan.diff")
async def test_a_build_takes_over_its_field_alone_and_names_drift(overlays):
    overlays.kubectl("-n", overlays.production, "scale", "deployment/live-docs", "--replicas=5")

    plan = (await _deploy(overlays, "1.2.0", dry_run=True)).data["plan"]
    made = await _deploy(overlays, "1.2.0")

    assert made.ok, made.text
    (one,) = plan["objects"]
    assert one["adopts"] == ['.spec.template.spec.containers[name="site"].image from kubectl-client-side-apply']
    assert any("replicas" in line for line in plan["drift"])
    assert overlays.workload("production")["spec"]["replicas"] == 5


@pytest.mark.promise("apply.no-force")
async def test_a_field_of_another_manager_is_named_and_left(overlays):
    container = {"name": "site", "image": "registry.example/docs/site:7"}
    claim = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "live-docs", "namespace": overlays.production},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager=image-updater", "-f", "-")
    overlays.kubectl(*words, stdin=json.dumps(claim))
    head = overlays.git("rev-parse", "HEAD")

    refused = await _deploy(overlays, "1.2.0")

    assert refused.data["error"]["code"] == "field-conflict", refused.text
    assert "image-updater" in refused.text
    assert overlays.git("rev-parse", "HEAD") == head


@pytest.mark.promise("verify.rollback")
async def test_a_rollout_that_fails_is_taken_back_in_cluster_and_git(overlays):
    files = _bytes(overlays)

    failed = await _deploy(overlays, "1.2.0-unpullable")

    assert failed.data["state"] == "rolled_back", failed.text
    assert overlays.site("production") == "registry.example/docs/site:1.0.1"
    assert _bytes(overlays) == files
    subjects = overlays.git("log", "-2", "--format=%s").splitlines()
    assert subjects == [f"Roll back {failed.data['request']}", "Deploy docs 1.2.0-unpullable"]


@pytest.mark.promise("repos.overlay")
async def test_replicas_are_set_where_the_environment_decides_them(overlays):
    files = _bytes(overlays)

    live = await _change(overlays, "scale", replicas=4)
    files[PRODUCTION] = files[PRODUCTION].replace(b"count: 3", b"count: 4")
    assert live.ok, live.text
    assert _bytes(overlays) == files
    staging = await _change(overlays, "scale", "staging", replicas=1)  # the base decides for it alone

    assert staging.ok, staging.text
    files["base/deployment.yaml"] = files["base/deployment.yaml"].replace(b"replicas: 2 ", b"replicas: 1 ")
    assert _bytes(overlays) == files
    assert [overlays.workload(one)["spec"]["replicas"] for one in ("production", "staging")] == [4, 1]


# The base has an entry of images, and the overlay a JSON patch of the same image: the build never sees the entry.
UNSEEN = (
    (
        "base/kustomization.yaml",
        """
        resources: [deployment.yaml, service.yaml, docs.yaml]
        images: [{name: registry.example/docs/site, newTag: 1.0.0}]
        configMapGenerator: [{name: docs-config, files: [config.json]}]
        """,
    ),
    (
        "overlays/production/kustomization.yaml",
        """
        namespace: {production}
        namePrefix: live-
        resources: [../../base]
        patches:
          - path: memory.yaml
          - target: {kind: Deployment, name: docs}
            patch: |-
              - op: replace
                path: /spec/template/spec/containers/0/image
                value: registry.example/docs/site:1.0.1   # since the incident
        """,
    ),
)
ENTRY = """
[apps.docs.settings.entry]
at = "k8s/docs/base/kustomization.yaml#images[name=registry.example/docs/site].newTag"
type = "version"
"""


@pytest.mark.trap("K9")
@pytest.mark.promise("repos.locator")
async def test_an_image_of_a_json_patch_is_set_there_and_an_entry_of_images_below_it_is_refused(
    cluster_setup, tmp_path
):
    async with Overlays(cluster_setup, tmp_path, changed=UNSEEN) as overlays:
        await overlays.accept_policy(overlays.apps() + ENTRY)
        files = _bytes(overlays)

        idle = await _change(overlays, "configure", settings={"entry": "1.2.0"})
        made = await _deploy(overlays, "1.2.0")

        assert idle.data["code"] == "no-effect", idle.text
        assert "The build of k8s/docs/overlays/production gives the same with the edit" in idle.text
        assert made.ok, made.text
        assert [overlays.site(one)[-5:] for one in ("production", "staging")] == ["1.2.0", "1.1.0"]
        files[PRODUCTION] = files[PRODUCTION].replace(b"site:1.0.1", b"site:1.2.0")
        assert _bytes(overlays) == files


ACCOUNTS = """
[apps.accounts]
owner = "docs"
image = "registry.example/docs/db:{{version}}"
environments.production = {{ at = ["k8s/docs/overlays/production"], namespace = "{production}" }}
"""


@pytest.fixture
def database(cluster_setup):
    """A kind of custom resource, as an operator brings it: its API version."""
    group = f"{suffix()}.example"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"kind": "Database", "plural": "databases"}
    made = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    made |= {"metadata": {"name": f"databases.{group}"}}
    made |= {"spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}}
    cluster_setup.run("create", "-f", "-", stdin=json.dumps(made))
    cluster_setup.run("wait", "--for=condition=Established", "--timeout=60s", f"crd/databases.{group}")
    yield f"{group}/v1"
    cluster_setup.run("delete", f"crd/databases.{group}", "--wait=false")


@pytest.mark.trap("K9")
async def test_a_custom_resource_that_its_entry_of_images_does_not_reach_is_refused_by_name(overlays, database):
    resource = {"apiVersion": database, "kind": "Database", "metadata": {"name": "accounts"}}
    resource |= {"spec": {"image": "registry.example/docs/db:17.1"}}
    overlay = overlays.file(PRODUCTION).read_text(encoding="utf-8").replace("[../../base]", "[../../base, db.json]")
    entry = "images:\n  - name: registry.example/docs/db\n    newTag: '17.9'\n"
    overlays.file(PRODUCTION).write_text(overlay.replace("images:\n", entry), encoding="utf-8")
    overlays.file("overlays/production/db.json").write_text(json.dumps(resource), encoding="utf-8")
    overlays.git("add", ".")
    overlays.git("commit", "-qm", "The accounts have a database")
    overlays.kubectl("apply", "-k", overlays.file("overlays/production"))
    await overlays.accept_policy(overlays.apps() + ACCOUNTS.format(production=overlays.production))
    files, head = _bytes(overlays), overlays.git("rev-parse", "HEAD")

    refused = await _deploy(overlays, "17.2", app="accounts")

    assert not refused.ok
    assert "live-accounts" in refused.text
    assert (_bytes(overlays), overlays.git("rev-parse", "HEAD")) == (files, head)
    live = overlays.cluster_setup.api.get("Database", "live-accounts", overlays.production, database)
    assert live["spec"] == resource["spec"]


@pytest.mark.trap("K10")
async def test_an_app_with_several_overlays_is_changed_in_none_before_one_is_named(overlays):
    head = overlays.git("rev-parse", "HEAD")

    refused = await overlays.tool("deploy", app="docs", version="1.2.0")

    assert not refused.ok
    assert "production" in refused.text
    assert "staging" in refused.text
    assert overlays.git("rev-parse", "HEAD") == head


async def test_a_rollback_of_a_landed_request_sets_the_overlay_back(overlays):
    files = _bytes(overlays)
    made = await _deploy(overlays, "1.2.0")

    back = await overlays.tool("change", action="rollback", arguments={"request": made.data["request"]})

    assert back.ok, back.text
    assert _bytes(overlays) == files
    assert overlays.site("production") == "registry.example/docs/site:1.0.1"


@pytest.mark.trap("K5")
async def test_a_setting_in_a_generated_config_is_a_new_object_and_goes_back_to_the_old_one(overlays):
    files, former = _bytes(overlays), _config(overlays)

    made = await _change(overlays, "configure", settings={"title": "Docs, better"})

    assert made.ok, made.text
    name = _config(overlays)
    assert name != former
    assert json.loads(overlays.live_object("configmap", name, overlays.production)["data"]["config.json"]) == {
        "title": "Docs, better"
    }
    assert overlays.live_object("configmap", former, overlays.production) is not None
    files["overlays/production/config.json"] = b'{"title": "Docs, better"}\n'
    assert _bytes(overlays) == files

    back = await overlays.tool("change", action="rollback", arguments={"request": made.data["request"]})

    assert back.ok, back.text
    assert _config(overlays) == former


@pytest.mark.trap("K5")
@pytest.mark.promise("verify.rollback")
async def test_an_undo_brings_the_old_generated_name_back(overlays):
    files, former = _bytes(overlays), _config(overlays)

    failed = await _change(overlays, "configure", settings={"title": "Docs, worse", "proxy": "8-unpullable"})

    assert failed.data["state"] == "rolled_back", failed.text
    assert _config(overlays) == former
    assert overlays.live_object("configmap", former, overlays.production) is not None
    assert _bytes(overlays) == files


async def test_a_setting_in_a_patch_is_set_in_the_workload_that_the_build_gives(overlays):
    made = await _change(overlays, "configure", settings={"memory": "256Mi"})

    assert made.ok, made.text
    site = overlays.workload("production")["spec"]["template"]["spec"]["containers"][0]
    assert site["resources"]["limits"] == {"memory": "256Mi"}


@pytest.mark.promise("delivery.reach")
async def test_a_setting_of_the_base_reaches_every_overlay_of_the_owner(overlays):
    made = await overlays.tool("change", action="configure", arguments={"app": "docs", "settings": {"color": "red"}})

    assert made.ok, made.text
    for name, space in (("plain", overlays.staging), ("live-plain", overlays.production)):
        assert overlays.live_object("configmap", name, space)["data"] == {"color": "red"}


@pytest.mark.promise("delivery.reach")
async def test_an_overlay_of_others_that_the_base_reaches_is_a_refusal(overlays):
    folder = overlays.repo / "k8s" / "shop"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("namespace: shop-live\nresources: [../docs/base]\n", encoding="utf-8")
    overlays.git("add", ".")
    overlays.git("commit", "-qm", "The shop has its own docs")
    head = overlays.git("rev-parse", "HEAD")

    refused = await overlays.tool("change", action="configure", arguments={"app": "docs", "settings": {"color": "red"}})

    assert "(rule reach)" in refused.text
    assert "k8s/shop" in refused.text
    assert overlays.git("rev-parse", "HEAD") == head


@pytest.mark.promise("git.first")
async def test_what_cannot_be_built_is_refused_before_the_commit(overlays):
    base = overlays.file("base/kustomization.yaml")
    text = base.read_text(encoding="utf-8").replace("docs.yaml]", "docs.yaml, 'https://git.example/base?ref=main']")
    base.write_text(text, encoding="utf-8")
    overlays.git("commit", "-qam", "A base from elsewhere")
    head = overlays.git("rev-parse", "HEAD")

    refused = await _deploy(overlays, "1.2.0")

    assert refused.data["error"]["code"] == "build-refused", refused.text
    assert "git.example" in refused.text
    assert overlays.git("rev-parse", "HEAD") == head
    assert overlays.site("production") == "registry.example/docs/site:1.0.1"


async def test_a_file_that_only_lists_the_manifests_above_them_changes_nothing(overlays):
    (overlays.repo / "k8s" / "kustomization.yaml").write_text(
        "resources: [docs/overlays/staging, docs/overlays/production]\n", encoding="utf-8"
    )
    overlays.git("add", ".")
    overlays.git("commit", "-qm", "All of it at once")

    made = await _deploy(overlays, "1.2.0")

    assert made.ok, made.text
    assert overlays.site("production") == "registry.example/docs/site:1.2.0"
    assert overlays.site("staging") == "registry.example/docs/site:1.1.0"
