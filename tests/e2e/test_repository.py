"""What lies in the repository beside what a request is about: odd names, large files, links, other teams' files."""

import os
import stat

import anyio
import pytest
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


def commit(scenario, words="by hand"):
    scenario.git("add", "-A")
    scenario.git("commit", "-q", "-m", words)


@pytest.mark.fault("f08")
@pytest.mark.fault("f30")
async def test_a_manifest_below_a_folder_whose_name_is_not_utf8_ends_with_the_path_and_nothing_is_left_open(scenario):
    odd = os.fsencode(scenario.repo / "k8s") + b"/caf\xe9"
    os.mkdir(odd)  # noqa: PTH102 - bytes that are no text
    scenario.manifest.rename(os.fsdecode(odd + b"/docs-site.yaml"))
    commit(scenario)

    deployed = await scenario.tool("deploy", app="docs", version="1.0.0")
    seen = await scenario.tool("deploy", app="docs", version="1.0.0", dry_run=True)
    made = await scenario.tool("provision_namespace", namespace=scenario.fresh())

    for reply in (deployed, seen):
        assert not reply.ok
        assert "k8s/caf\\udce9/docs-site.yaml" in reply.text
    assert made.ok, made.text
    assert {row["state"] for row in await scenario.settled()} == {"failed", "landed"}
    await scenario.restart()
    assert (await scenario.tool("status")).ok
    assert scenario.image().endswith(":0.13.3")


@pytest.mark.fault("f05")
@pytest.mark.fault("f06")
@pytest.mark.promise("ask.seed-sentence")
async def test_other_teams_files_do_not_block_the_seeds_sentence_and_what_was_not_read_is_mentioned(scenario):
    team = scenario.repo / "k8s" / "other"
    team.mkdir()
    bad = "kind: ServiceAccount\nmetadata:\n  name: default\n  {{- with .Values.x }}\n"
    (team / "template.yaml").write_text(bad, encoding="utf-8")
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n"
    (team / "bom.yaml").write_text("\ufeff" + account, encoding="utf-8")
    (team / "plain.yaml").write_text(account, encoding="utf-8")
    (team / "large.yaml").write_text(account + "#" * (9 << 20), encoding="utf-8")
    listed = account.rstrip().replace("\n", "\n  ")
    (team / "list.yaml").write_text(f"apiVersion: v1\nkind: List\nitems:\n- {listed}\n", encoding="utf-8")
    commit(scenario)
    name = scenario.fresh("staging")

    seen = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"], dry_run=True)
    reply = await scenario.ask(f"I need a namespace '{name}' with image-pull secret X")

    assert reply.ok, reply.text
    assert f"namespace {name} up" in reply.text
    notes = " ".join(seen.data["plan"]["notes"])
    for unread in ("template.yaml", "bom.yaml", "large.yaml"):
        assert f"k8s/other/{unread}" in notes
    assert "plain.yaml" not in notes
    assert "list.yaml" not in notes


@pytest.mark.fault("w12")
@pytest.mark.parametrize("where", ["in the repository", "in the checkout", "operation"])
async def test_a_dry_run_refuses_what_the_commit_would_be_refused_for(scenario, where):
    name = scenario.fresh()
    if where == "in the repository":
        (scenario.repo / "elsewhere").mkdir()
        (scenario.repo / "elsewhere" / "x.md").write_text("x\n", encoding="utf-8")
        (scenario.repo / "k8s" / name).symlink_to("../elsewhere")
        commit(scenario)
    elif where == "in the checkout":
        (scenario.repo / "k8s" / name).symlink_to("..")
    else:
        (scenario.repo / ".git" / "MERGE_HEAD").write_text("x\n", encoding="utf-8")
    before = scenario.git("count-objects")

    seen = await scenario.tool("provision_namespace", namespace=name, dry_run=True)
    assert scenario.git("count-objects") == before
    made = await scenario.tool("provision_namespace", namespace=name)

    assert not made.ok
    assert not seen.ok
    assert seen.data["error"]["code"] == made.data["error"]["code"] in {"git-failed", "checkout-refused"}


@pytest.mark.fault("d01")
@pytest.mark.promise("tree.permissions")
async def test_what_a_request_writes_in_the_peoples_checkout_others_can_read(cluster_setup, tmp_path):
    async with Scenario(cluster_setup, tmp_path, serve=False) as scenario:
        await scenario.start(_usual)
        name = scenario.fresh()
        made = await scenario.tool("provision_namespace", namespace=name)
        deployed = await scenario.tool("deploy", app="docs", version="1.0.0")

        assert made.ok, made.text
        assert deployed.ok, deployed.text
        files = scenario.git("ls-files").splitlines()
        assert {stat.S_IMODE((scenario.repo / path).stat().st_mode) for path in files} == {0o644}
        folders = {parent for path in files for parent in (scenario.repo / path).parents if parent != tmp_path}
        assert {stat.S_IMODE(f.stat().st_mode) for f in folders if f.is_relative_to(scenario.repo)} == {0o755}
        assert stat.S_IMODE((scenario.repo / ".git/refs/heads/main").stat().st_mode) == 0o644


def _usual():
    os.umask(0o022)


@pytest.mark.fault("f31")
async def test_a_large_and_repetitive_file_is_planned_and_taken_back_off_the_event_loop(cluster_setup, tmp_path):
    async with Scenario(cluster_setup, tmp_path, serve=False) as scenario:
        keys = "".join(f"  k{n}: v\n" for n in range(20_000))
        rest = f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big, namespace: shop-x}}\ndata:\n{keys}"
        with scenario.manifest.open("a", encoding="utf-8") as file:
            file.write("# the same\n" * 12_000 + rest)
        commit(scenario)
        await scenario.start(_watch_the_loop)
        with anyio.fail_after(120):
            deployed = await scenario.tool("deploy", app="docs", version="1.0.0", wait_seconds=60)
            taken_back = await scenario.tool("deploy", app="docs", version="1.0.1-notready", wait_seconds=60)

        assert deployed.ok, deployed.text
        assert taken_back.data["state"] == "rolled_back", taken_back.text
        assert "composed in a thread" in scenario.log
        assert "composed on the loop" not in scenario.log


def _watch_the_loop():
    """Say of every large text that is read as YAML whether that is done on the event loop."""
    import asyncio  # noqa: PLC0415 - runs in the server
    import sys  # noqa: PLC0415 - the same

    from infra_mcp.repository import nodes  # noqa: PLC0415 - the same

    class FileGuard(nodes._Composer):
        def __init__(self, text):
            super().__init__(text)
            if len(text) > 100_000:
                try:
                    asyncio.get_running_loop()
                    sys.stderr.write("composed on the loop\n")
                except RuntimeError:
                    sys.stderr.write("composed in a thread\n")

    nodes._Composer = FileGuard


@pytest.mark.fault("r6")
@pytest.mark.promise("repos.owner-first")
async def test_an_app_that_flux_delivers_is_answered_with_the_file_of_its_helm_release(scenario):
    release = {"helm.toolkit.fluxcd.io/name": "docs", "helm.toolkit.fluxcd.io/namespace": scenario.namespace}
    labels = [f"{key}={value}" for key, value in release.items()]
    scenario.kubectl("-n", scenario.namespace, "label", "deployment/docs", *labels)
    scenario.manifest.unlink()
    file = scenario.repo / "kubernetes" / "apps" / "docs" / "helmrelease.yaml"
    file.parent.mkdir(parents=True)
    about = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: docs}\n"
    file.write_text(f"{about}spec: {{chartRef: {{kind: OCIRepository, name: docs}}}}\n", encoding="utf-8")
    commit(scenario)

    reply = await scenario.tool("deploy", app="docs", version="1.0.0")

    assert reply.data["code"] == "not-in-repository", reply.text
    assert f"is delivered by Flux HelmRelease {scenario.namespace}/docs; its file is" in reply.text
    assert '[apps.docs] file = "kubernetes/apps/docs/helmrelease.yaml"' in reply.text


@pytest.mark.fault("r3")
@pytest.mark.promise("repos.namespace")
async def test_an_app_whose_manifest_names_no_namespace_is_deployed_in_the_one_of_the_catalogue(scenario):
    text = scenario.manifest.read_text(encoding="utf-8")
    bare = text.replace(f"  namespace: {scenario.namespace}\n", "")
    assert bare.count("namespace") == text.count("namespace") - 1 - scenario.namespace.count("namespace")
    scenario.manifest.write_text(bare, encoding="utf-8")
    commit(scenario)

    landed = await scenario.tool("deploy", app="docs", version="0.13.4")
    failed = await scenario.tool("deploy", app="docs", version="0.13.5-unpullable")
    status = await scenario.tool("status", app="docs")

    assert landed.data["state"] == "landed", landed.text
    assert failed.data["state"] == "rolled_back", failed.text
    assert scenario.image().endswith(":0.13.4")
    assert scenario.manifest.read_text(encoding="utf-8") == bare.replace("site:0.13.3", "site:0.13.4")
    assert "0.13.4" in status.text

    other = scenario.manifest.with_name("old.yaml")
    other.write_text(bare, encoding="utf-8")
    commit(scenario)
    refused = await scenario.tool("deploy", app="docs", version="1.0.0")
    path = other.relative_to(scenario.repo).as_posix()
    await scenario.accept_policy(scenario.apps().replace("[apps.docs]\n", f'[apps.docs]\nfile = "{path}"\n'))
    decided = await scenario.tool("deploy", app="docs", version="1.0.0")

    assert refused.data["code"] == "ambiguous-object"
    assert '[apps.docs] file = "…"' in refused.text
    assert decided.data["state"] == "landed", decided.text
    assert other.read_text(encoding="utf-8") == bare.replace("site:0.13.3", "site:1.0.0")
