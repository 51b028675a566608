"""The act at a real forge: a release notice is proposed, merged by a person, delivered by a pipeline, and acked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from peer import Peer, connected
from stage import Failed
from world import commit_files

if TYPE_CHECKING:
    from gitea import Account, GiteaServer, Repository
    from run import Demo

__all__ = ["proposed"]

TESTS = Path(__file__).resolve().parent.parent / "tests"
FILE = "apps/banner/deployment.yaml"
APP = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: banner
  namespace: docs-live
spec:
  replicas: 1
  selector:
    matchLabels: {app: banner}
  template:
    metadata:
      labels: {app: banner}
    spec:
      containers:
        - name: banner
          image: registry.example/docs/banner:1.0.0   # set by release
"""
POLICY = """\
[tree]
write = "pull-request"
remote = "forge"

[[tree.roots]]
path = "apps"
delivery = "external"      # the team's pipeline applies what is on main

[clusters.demo]
context = "{context}"

[forge]
kind = "gitea"
token_file = "{token}"
poll = "1s"

[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]

[apps.banner]
owner = "docs"
workload = "docs-live/deployment/banner"
image = "registry.example/docs/banner:{{version}}"
deploy_on = "banner {{version}} released"
versions = ["1.*"]           # these need no approval, although they are not rendered here
evidence.workload = "docs-live/deployment/banner"
"""


async def proposed(demo: Demo, _: Peer) -> None:
    """Tell the act, or say how to get what it needs."""
    sys.path.append(str(TESTS))
    from gitea_program import program  # noqa: PLC0415 - found by the path above

    demo.stage.step("At a forge: a release notice is proposed, merged by a person, delivered by a pipeline, and acked")
    if program() is None:
        demo.stage.tell("Gitea is not here, so this act is left out. `make tools` builds it, some minutes, once.")
        return
    from gitea import gitea_server  # noqa: PLC0415 - as above

    with gitea_server(demo.home / "gitea") as server:
        await _proposed(demo, server)


async def _proposed(demo: Demo, server: GiteaServer) -> None:
    stage, repo = demo.stage, demo.home / "proposals"
    ann, bot = server.account("ann"), server.account("bot")
    place = server.repository(ann, **{bot.name: "write"})
    _lay_out(demo, repo, place, ann, server.token_file(bot))
    stage.tell("A repository at Gitea whose main takes no push, and a second infra peer with a bot's token for it:")
    place.protect("main")
    with _second_server(demo, repo) as (url, token):
        async with connected("docs", url, token, stage) as docs:
            _, notice, _ = await docs.call("notify_peer", peer_name="infra", message="banner 1.1.0 released")
            pull = await _pull(place)
            stage.tell(f"The pull request, by {pull['user']['login']}, from branch {pull['head']['ref']}:")
            stage.show(f"{pull['title']}\n{pull['body']}", 14)
            demo.must(pull["state"] == "open" and "1.0.0" in place.read(FILE), "nothing is on main until people merge")
            stage.tell("ann squashes it, and the team's pipeline applies what is on main:")
            await anyio.to_thread.run_sync(place.merge, pull["number"], "squash")
            demo.kube("apply", "-f", "-", stdin=place.read(FILE), shown=f"git show main:{FILE} | kubectl apply -f -")
            outcome = await demo.outcome(docs, notice.strip())
            demo.must("was merged by ann" in outcome, "the ack says who merged it, and by which evidence it is live")


def _lay_out(demo: Demo, repo: Path, place: Repository, ann: Account, token: Path) -> None:
    """A person's repository with the app, which runs already, pushed to the forge."""
    stage = demo.stage
    commit_files(stage, repo, {FILE: APP}, "The banner, as it runs")
    demo.kube("apply", "-f", repo / FILE, shown=f"kubectl apply -f {FILE}")
    demo.kube("-n", "docs-live", "rollout", "status", "deployment/banner", "--timeout=60s", quiet=True, shown="")
    policy = POLICY.format(context=demo.context, token=token)
    commit_files(stage, repo, {"infra.toml": policy}, "What the infra peer may do here")
    stage.run("git", "-C", repo, "remote", "add", "forge", place.url, quiet=True, shown="git remote add forge URL")
    stage.run("git", "-C", repo, "push", "-q", "--force", place.url_for(ann), "HEAD:main", quiet=True, shown="git push")


@contextmanager
def _second_server(demo: Demo, repo: Path) -> Iterator[tuple[str, str]]:
    """An infra peer for the repository, with a state of its own; its address, and the token of docs there."""
    env = demo.stage.env | {"INFRA_MCP_REPO": str(repo), "INFRA_MCP_STATE": str(demo.home / "proposals-state")}

    def infra(*words: str) -> str:
        done = subprocess.run([demo.bin, *words], env=env, cwd=repo, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"infra-mcp {words[0]} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    infra("policy", "accept", "--yes")
    token = json.loads(infra("peer", "add", "docs", "--circle", "docs", "--json"))["token"]
    demo.stage.command("infra-mcp", "serve", "--port", "0")
    argv = [demo.bin, "serve", "--port", "0"]
    with (demo.home / "proposals.log").open("w") as log, subprocess.Popen(
        argv, env=env, cwd=repo, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
    ) as server:  # fmt: skip
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = [word for word in line.split() if word.startswith("http")]
            if not found:
                raise Failed(f"the second server did not start: {(demo.home / 'proposals.log').read_text()}")
            yield found[0], token
        finally:
            server.terminate()


async def _pull(place: Repository) -> dict[str, object]:
    """The first pull request, once it is there."""
    with anyio.fail_after(60):
        while not (found := await anyio.to_thread.run_sync(place.pulls)):  # noqa: ASYNC110 - a forge gives no events
            await anyio.sleep(0.2)
    return dict(found[0])
