"""Releases that an interrupted Helm left pending are found, explained and repaired; none is ever uninstalled."""

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from drivers.helm.space import CHARTS

from infra_mcp.clients.helm import stored
from infra_mcp.drivers.helm import state
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.stuck"), pytest.mark.trap("H1")]


@pytest.fixture
def hooked(helm_space):
    return lambda **values: helm_space.declared("site", "hooked", **values)


def _uids(helm_space):
    """The objects of the release by their uids: whatever is uninstalled and made again has others."""
    found = json.loads(helm_space.kubectl("get", "deployments,services", "-o", "json"))["items"]
    return {(one["kind"], one["metadata"]["name"]): one["metadata"]["uid"] for one in found}


async def _killed(helm_space, *words):
    """A Helm of somebody's that is killed while its hook runs."""
    argv = [str(helm_space.helm), *map(str, words), "--namespace", helm_space.name]
    argv += ["--kubeconfig", str(helm_space.on.kubeconfig), "--kube-context", helm_space.on.context]
    async with await anyio.open_process(argv, env={"HOME": str(helm_space.home)}) as process:
        with anyio.fail_after(60):
            while "pending" not in helm_space.kubectl("get", "secrets", "-l", "owner=helm", "-L", "status"):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        process.send_signal(signal.SIGKILL)


async def _stuck(helm_space, *words):
    chart = CHARTS / "hooked"
    # The hook's pods never end, so that Helm waits for it until it is killed.
    await _killed(helm_space, "upgrade", "--install", "site", chart, "--set", "hang=true", *words)


async def test_an_upgrade_of_others_that_may_be_under_way_is_left_alone_and_explained(helm_space, hooked):
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, hooked())
        await _stuck(helm_space)
        before = await helm_space.history("site")
        with pytest.raises(InfraError) as caught:
            await driver.plan(helm_space.context(), helm_space.change(hooked(), hooked(ttl=5)))
    assert caught.value.code == "release-stuck"
    assert "pending-upgrade at revision 2" in caught.value.what
    assert "taken for interrupted" in caught.value.next_step
    assert await helm_space.history("site") == before


async def test_a_stuck_upgrade_is_rolled_back_to_the_last_good_revision_first_and_the_plan_says_so(
    helm_space, hooked, monkeypatch
):
    monkeypatch.setattr(state, "UNDER_WAY", state.timedelta(0))
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, hooked())
        uids = _uids(helm_space)
        await _stuck(helm_space)
        plan = await driver.plan(helm_space.context(), helm_space.change(hooked(), hooked(ttl=5)))
        assert "stuck: revision 2 is pending-upgrade" in plan.notes[0]
        assert "rolled back to revision 1" in plan.notes[0]
        assert "site-back" in {change.target.name for change in plan.changes if change.operation == "run"}
        await driver.apply(helm_space.context(), plan)
        said = await driver.verify(helm_space.context(), plan, 60)
    assert "revision 4" in said
    history = {one["revision"]: one["status"] for one in await helm_space.history("site")}
    assert (history[3], history[4]) == ("superseded", "deployed")
    assert _uids(helm_space) == uids


async def test_an_install_that_was_interrupted_is_installed_again_with_its_install_hooks(
    helm_space, hooked, monkeypatch
):
    monkeypatch.setattr(state, "UNDER_WAY", state.timedelta(0))
    await _stuck(helm_space)
    assert [one["status"] for one in await helm_space.history("site")] == ["pending-install"]
    async with helm_space.connect() as driver:
        plan = await driver.plan(helm_space.context(), helm_space.change({}, hooked()))
        assert "marked as failed and installed again" in plan.notes[0]
        assert plan.on_failure == "hold"
        await driver.apply(helm_space.context(), plan)
        said = await driver.verify(helm_space.context(), plan, 60)
    assert "2 hooks succeeded" in said
    assert [one["status"] for one in await helm_space.history("site")] == ["failed", "deployed"]


async def test_an_install_whose_hook_failed_is_kept_and_the_next_one_runs_its_hooks_again(helm_space, hooked):
    async with helm_space.connect() as driver:
        bad = await driver.plan(helm_space.context(), helm_space.change({}, hooked(fail="post")))
        with pytest.raises(InfraError, match="hook Job site-post failed"):
            await driver.apply(helm_space.context(), bad)
        assert bad.on_failure == "hold"
        assert await driver.observe(helm_space.context(), bad.writes)
        uids = _uids(helm_space)
        plan, said = await helm_space.bring(driver, hooked(fail="post"), hooked())
    assert {change.target.name for change in plan.changes if change.operation == "run"} == {"site-pre", "site-post"}
    assert "2 hooks succeeded" in said
    assert _uids(helm_space) == uids


async def test_a_helm_of_ours_that_is_killed_leaves_a_release_that_the_undo_repairs(helm_space, hooked):
    good, bad = hooked(), hooked(ttl=7, hang=True)
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, good)
        plan = await driver.plan(helm_space.context(), helm_space.change(good, bad))
        async with anyio.create_task_group() as group:
            group.start_soon(_kill_helm, helm_space)
            with pytest.raises(InfraError, match="ended by signal 9"):
                await driver.apply(helm_space.context(), plan)
        assert [one["status"] for one in await helm_space.history("site")] == ["deployed", "pending-upgrade"]
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.skipped == ()
        assert await driver.settled(helm_space.context(), plan.writes, 60)


async def _kill_helm(helm_space):
    """Kill the helm that the driver started, once its release is pending."""
    with anyio.fail_after(60):
        while "pending" not in helm_space.kubectl("get", "secrets", "-l", "owner=helm", "-L", "status"):  # noqa: ASYNC110
            await anyio.sleep(0.05)
    for pid in _helms():
        os.kill(pid, signal.SIGKILL)


def _helms():
    """The processes that this one started as `helm`, in a private folder of ours."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"/infra-mcp-helm-" in argv[0]:
                found.append(int(entry.name))
    return found


async def test_a_stored_revision_that_cannot_be_read_is_said_and_nothing_is_done(helm_space, hooked):
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, hooked())
        name = stored.secret_name("site", 1)
        helm_space.kubectl("patch", "secret", name, "--type=merge", "-p", '{"data":{"release":"bm9uc2Vuc2U="}}')
        with pytest.raises(InfraError, match="cannot be read") as caught:
            await driver.plan(helm_space.context(), helm_space.change(hooked(), hooked(ttl=5)))
    assert caught.value.code == "release-stuck"


def test_a_release_that_is_being_uninstalled_is_left_to_a_person():
    one = stored.Revision("a", "b", 3, "uninstalling", "", "", "", "", "", {}, None, "", (), {})
    with pytest.raises(InfraError, match="its uninstall was interrupted"):
        state.state_of([one]).repair(idle=True)
    assert state.state_of([replace(one, status="deployed")]).repair(idle=False) is None
