"""Server and Helm are killed at random points of an upgrade: the end is known, told, and reached without a person."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
import yaml
from drivers.helm.space import helm_4
from e2e.charts import Charts
from e2e.fault_injection import undisturbed

from infra_mcp.clients.terraform.child import descendants

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.anyio,
    pytest.mark.promise("helm.stuck", "recover.reobserve"),
    pytest.mark.trap("H1"),
]

SEED = 20261130
CI, FULL = 5, 50  # random points


class Killed(Charts):
    """A release with hooks, upgraded to another image each time."""

    @property
    def file(self):
        return self.manifest.with_name("site.yaml")

    async def upgrade(self, number, attempt=""):
        """Ask for it, or ask again for the same."""
        about = {"namespace": self.namespace, "release": "site", "values": {"image": image(number)}}
        about |= {"chart": "./charts/hooked"} if number == 0 else {}
        key = f"kill-{number}{attempt}"
        return await self.tool(
            "change", by="charts", action="helm_release", arguments=about, idempotency_key=key, wait_seconds=120
        )

    def seen(self):
        """The Deployment's uid and its image, and Helm's history."""
        found = self.live_object("deployment", "site", self.namespace)
        assert found is not None, "the release was uninstalled"
        return found["metadata"]["uid"], found["spec"]["template"]["spec"]["containers"][0]["image"], self.revisions()

    def wrong(self, number, before, *, landed=True):
        """What is not as the end of a request says."""
        uid, runs, history = self.seen()
        wanted = image(number if landed else number - 1)
        in_git = yaml.safe_load(self.git("show", f"HEAD:{self.file.relative_to(self.repo)}"))["values"]["image"]
        faults = [] if uid == before[0] else ["the Deployment was deleted and made again"]
        faults += [] if runs == wanted else [f"{runs} runs, not {wanted}"]
        faults += [] if in_git == wanted else [f"git says {in_git}"]
        statuses = [status for _, status in history]
        faults += [] if statuses[-1] == "deployed" and statuses.count("deployed") == 1 else [str(history)]
        more = history[-1][0] - before[2][-1][0]
        faults += [] if more <= 3 else [f"{more} revisions were made"]  # the killed one, its rollback, the new one
        left = [path for path in (self.settings.state_dir / "helm").rglob("infra-mcp-helm-*") if path.is_dir()]
        return faults + [f"{path} is left" for path in left[:1]]

    def helms(self):
        """The processes of Helm that the server runs."""
        found = []
        for pid in descendants(self.server.pid):
            with suppress(OSError):
                if b"/infra-mcp-helm-" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    found.append(pid)
        return found


def image(number):
    return f"registry.example/charts/hooked:2.0.{number}"


@pytest.fixture
async def site(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Killed(cluster_setup, tmp_path) as scenario:
        made = await scenario.upgrade(0)
        assert made.ok, made.text
        yield scenario


async def _length(site):
    """Seconds that an upgrade takes, from the request to its end."""
    began = time.monotonic()
    done = await site.upgrade(1)
    assert done.ok, done.text
    return time.monotonic() - began


async def _servers_killed(site, times):
    length, chosen, faults = await _length(site), random.Random(SEED), {}
    for number in range(2, times + 2):
        before, after = site.seen(), chosen.uniform(0, length)
        async with anyio.create_task_group() as group:
            group.start_soon(undisturbed, lambda number=number: site.upgrade(number))
            await anyio.sleep(after)
            await site.kill()
            group.cancel_scope.cancel()
        await site.start()
        done = await site.upgrade(number)
        wrong = [] if done.ok else [done.text]
        wrong += await anyio.to_thread.run_sync(site.wrong, number, before)
        sys.stderr.write(f"server killed after {after:.2f} of {length:.2f} s: {'; '.join(wrong) or 'ok'}\n")
        faults |= {number: wrong} if wrong else {}
    return faults


async def _helms_killed(site, times):
    length, chosen, faults = await _length(site), random.Random(SEED), {}
    for number in range(2, times + 2):
        before, after = site.seen(), chosen.uniform(0, length)
        ended = []

        async def ask(number=number, ended=ended):
            ended.append(await site.upgrade(number))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(after)
            while not ended and not (pids := site.helms()):  # noqa: ASYNC110 - another process's children
                await anyio.sleep(0.005)
            for pid in pids if not ended else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        [done] = ended
        wrong = await anyio.to_thread.run_sync(partial(site.wrong, number, before, landed=done.ok))
        if not done.ok:
            wrong += [] if "signal 9" in done.text else [f"it does not say what happened: {done.text}"]
            before = site.seen()
            again = await site.upgrade(number, "-again")
            wrong += [] if again.ok else [f"again: {again.text}"]
            wrong += await anyio.to_thread.run_sync(partial(site.wrong, number, before))
        said = done.text.splitlines()[0][:90]
        sys.stderr.write(f"helm killed after {after:.2f} of {length:.2f} s: {said}: {'; '.join(wrong) or 'ok'}\n")
        faults |= {number: wrong} if wrong else {}
    return faults


@pytest.mark.timeout(900)
async def test_a_server_killed_at_random_points_of_an_upgrade_is_followed_by_one_that_lands_it(site):
    assert await _servers_killed(site, CI) == {}


@pytest.mark.timeout(900)
async def test_a_helm_killed_at_random_points_is_told_of_and_undone_and_asked_again_it_lands(site):
    assert await _helms_killed(site, CI) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_server_killed_at_many_random_points_of_an_upgrade_is_followed_by_one_that_lands_it(site):
    assert await _servers_killed(site, FULL) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_helm_killed_at_many_random_points_is_told_of_and_undone_and_asked_again_it_lands(site):
    assert await _helms_killed(site, FULL) == {}
