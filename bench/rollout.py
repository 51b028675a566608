"""A deploy as what it adds to the rollout: our time before the write, and our ack after the last pod is ready."""

from __future__ import annotations

import asyncio
import time

from e2e.scenario import Scenario
from mesh import Line
from reading import peer_of, raw_get
from watcher import Rollout, watching

__all__ = ["contest"]

REPLICAS = 3
PAUSE = 0.7  # seconds before each deploy


async def contest(scenario: Scenario, rounds: int) -> list[Line]:
    """The lines, on a scenario whose app `docs` has so many replicas. A raw watch beside it says when what was so."""
    before = Line("deploy: from the call until the Deployment is written", "ms", below=120.0)
    after = Line("deploy: our ack after the last pod is ready", "ms", below=40.0)
    counted = Line("deploy: our ack after the controller has counted its new pods and no old ones", "ms", below=40.0)
    controller = Line("the controller's own part of the row before the last", "ms", note="for information")
    http, peer = peer_of(scenario)
    async with raw_get(scenario) as (get, path, headers):
        collections = [path.rpartition("/")[0], f"/api/v1/namespaces/{scenario.namespace}/pods"]
        for turn in range(rounds + 1):
            version = f"4.0.{turn}"
            seen = Rollout(f"registry.example/docs/site:{version}", REPLICAS)
            async with watching(get, collections, headers, seen):
                await asyncio.sleep(PAUSE)
                begin = time.perf_counter()
                done = await peer.data("deploy", app="docs", version=version)
                acked = time.perf_counter()
                await asyncio.sleep(0.1)  # so that the watcher has what the ack was faster than
            if done["state"] != "landed" or not seen.complete:
                raise SystemExit(f"no rollout: {done}")
            if turn:  # the first warms up
                before.ours.append((seen.written - begin) * 1000)
                after.ours.append((acked - seen.ready) * 1000)
                counted.ours.append((acked - seen.complete) * 1000)
                controller.ours.append((seen.complete - seen.ready) * 1000)
    http.close()
    return [before, after, counted, controller]
