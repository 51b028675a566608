"""An image that is pinned by a digest: the digest is kept, replaced or dropped on the cluster as the plan shows."""

import pytest
from e2e.overlays import Overlays
from e2e.scenario import Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("repos.digest")]

SITE, OLD, NEW = "registry.example/docs/site", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


class Manifest(Scenario):
    """The image and its digest are in the workload's own manifest."""

    environment = None
    pin = (f"{SITE}:0.13.3", f"{SITE}:0.13.3@{OLD}")

    def write_files(self):
        super().write_files()
        self.manifest.write_text(self.manifest.read_text(encoding="utf-8").replace(*self.pin), encoding="utf-8")


class Overlay(Overlays):
    """The tag and the digest are two values of an entry of images."""

    environment = "production"
    pin = ("newTag: 1.0.1\n", f"newTag: 0.13.3\n    digest: {OLD}\n")

    @property
    def manifest(self):
        return self.file("overlays/production/kustomization.yaml")

    def write_files(self):
        super().write_files()
        text = self.manifest.read_text(encoding="utf-8")
        self.manifest.write_text(text.replace(*self.pin), encoding="utf-8")

    def image(self):
        return self.site("production")


@pytest.mark.parametrize("where", [Manifest, Overlay])
async def test_a_digest_is_kept_replaced_or_dropped_on_the_cluster_as_the_plan_shows(cluster_setup, tmp_path, where):
    async with where(cluster_setup, tmp_path) as scenario:
        pinned = scenario.manifest.read_text(encoding="utf-8")
        refused = await deploy(scenario, "0.13.4")

        assert refused.data["code"] == "digest-needed", refused.text
        assert OLD in refused.text
        assert (scenario.image(), scenario.manifest.read_text(encoding="utf-8")) == (f"{SITE}:0.13.3@{OLD}", pinned)

        kept = await deploy(scenario, "0.13.3")
        assert kept.data["state"] == "unchanged", kept.text
        await as_shown(scenario, f"0.13.3@{OLD}", f"0.13.4@{NEW}", version=f"0.13.4@{NEW}")
        after = pinned.replace("0.13.3", "0.13.4").replace(OLD, NEW)
        assert scenario.manifest.read_text(encoding="utf-8") == after
        shown, dropped = await as_shown(scenario, f"0.13.4@{NEW}", "0.13.5", version="0.13.5", drop_digest=True)
        assert len([note for note in shown["notes"] if NEW in note]) == 1
        assert "sha256:" not in scenario.manifest.read_text(encoding="utf-8")

        back = await scenario.tool("rollback", request=dropped)
        assert back.ok, back.text
        assert (scenario.image(), scenario.manifest.read_text(encoding="utf-8")) == (f"{SITE}:0.13.4@{NEW}", after)


@pytest.mark.promise("plan.change-set")
@pytest.mark.parametrize("where", [Manifest, Overlay])
async def test_a_digest_that_git_keeps_is_set_again_where_the_cluster_runs_another_image(
    cluster_setup, tmp_path, where
):
    async with where(cluster_setup, tmp_path) as scenario:
        head = scenario.git("rev-parse", "HEAD")
        name, space = ("live-docs", scenario.production) if scenario.environment else ("docs", scenario.namespace)
        scenario.kubectl("-n", space, "set", "image", f"deployment/{name}", f"site={SITE}:0.13.3")

        await as_shown(scenario, "0.13.3", f"0.13.3@{OLD}", version="0.13.3")

        assert scenario.git("rev-parse", "HEAD") == head


async def as_shown(scenario, before, after, **options):
    """Deploy what a plan shows: this change of the image, which the cluster then runs; the plan, and the request."""
    shown = await deploy(scenario, dry_run=True, **options)
    assert shown.ok, shown.text
    (one,) = shown.data["plan"]["objects"]
    (change,) = [line for line in one["changes"] if "image" in line]
    assert f"'{SITE}:{before}' → '{SITE}:{after}'" in change
    made = await deploy(scenario, **options)
    assert made.data["state"] == "landed", made.text
    assert scenario.image() == f"{SITE}:{after}"
    assert made.data["effect_digest"] == shown.data["effect_digest"]
    return shown.data["plan"], made.data["request"]


async def deploy(scenario, version, **options):
    named = {"environment": scenario.environment} if scenario.environment else {}
    return await scenario.tool("deploy", app="docs", version=version, **named, **options)
