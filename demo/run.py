"""`make demo`: the whole story on a real control plane, step by step. Exit 0 only when each came out as told.

Leaves nothing running unless KEEP=1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
from forge import proposed
from kinds import several
from peer import Peer, attending, connected
from stage import Failed, Stage
from world import CIRCLES, FLUX, GUIDE, commit_files, write_kubeconfig, write_repository, write_source_secret

SENTENCE = "I need a namespace 'docs-staging' with image-pull secret X"
NOTICE = "release/0.13.4 merged, ready to deploy"
LOOSE = "our designers want somewhere to look at drafts, docs-preview would be a nice name, same registry as staging"
NAME = "demo"


class Demo:
    """The story's state: where things are, and what has to be ended."""

    def __init__(self, home: Path, *, keep: bool) -> None:
        self.home, self.keep = home, keep
        self.repo = home / "infra"
        self.bin = Path(sys.executable).parent / "infra-mcp"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("KUBECONFIG", "INFRA_MCP_"))}
        env |= {"XDG_STATE_HOME": str(home / "state"), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        if "INFRA_MCP_CACHE" in os.environ:
            env["INFRA_MCP_CACHE"] = os.environ["INFRA_MCP_CACHE"]
        self.stage = Stage(env)
        self.server: subprocess.Popen[str] | None = None
        self.url = ""
        self.tokens: dict[str, str] = {}
        self.kubectl = Path("kubectl")
        self.admin = Path()
        self.context = ""

    def infra(self, *words: str, **how: object) -> str:
        """Run the product's command in the infra repository."""
        return self.stage.run(self.bin, *words, cwd=self.repo if self.repo.exists() else None, **how)

    def kube(self, *words: str, **how: object) -> str:
        """Run kubectl as the cluster's admin."""
        return self.stage.run(self.kubectl, *words, **how)

    # -- step 1
    def set_up(self) -> None:
        stage = self.stage
        stage.step("A cluster, an infra repository that people work in, and the infra peer beside them")
        subprocess.run(
            [str(self.bin), "sandbox", "up", "--name", NAME], check=True, env=stage.env, stdin=subprocess.DEVNULL
        )
        found = json.loads(self.infra("sandbox", "status", "--name", NAME, "--json", quiet=True, shown=""))
        self.admin, self.context, self.kubectl = Path(found["kubeconfig"]), found["context"], Path(found["kubectl"])
        # Kustomizations are built by this kubectl, whatever the machine has.
        stage.env |= {"KUBECONFIG": str(self.admin), "INFRA_MCP_KUSTOMIZE": str(self.kubectl)}
        write_repository(stage, self.repo)
        stage.tell("An app that someone wrote by hand, applied with plain kubectl, and scaled since:")
        self.kube(
            "apply", "-f", self.repo / "k8s/teams/docs-site.yaml", shown="kubectl apply -f k8s/teams/docs-site.yaml"
        )
        self.kube("-n", "docs-live", "scale", "deployment/docs", "--replicas=5")
        self.kube("-n", "docs-live", "rollout", "status", "deployment/docs", "--timeout=60s", quiet=True)
        write_source_secret(stage, self.kubectl)

        stage.tell("The peer moves in: it finds the manifests where they are, and asks for no new layout.")
        self.infra("init", "--context", self.context, "--yes")
        policy = self.repo / "infra.toml"
        proposed = policy.read_text(encoding="utf-8").replace("# new = ", "new = ", 1)
        policy.write_text(proposed + CIRCLES, encoding="utf-8")
        stage.tell(
            "A person says where new files go and who may do what in infra.toml (two circles, one pull secret, two "
            "apps), and commits it."
        )
        self.git("add", "infra.toml")
        self.git("commit", "-q", "-m", "What the infra peer may do, and for whom")
        self.infra("policy", "accept", "--yes")
        rendered = self.infra("rbac", "render", "--namespaces", "docs-live", quiet=True)
        self.kube("apply", "--server-side", "-f", "-", stdin=rendered, lines=6,
                  shown="infra-mcp rbac render --namespaces docs-live | kubectl apply --server-side -f -")  # fmt: skip
        narrow = self.home / "server.kubeconfig"
        write_kubeconfig(stage, self.kubectl, self.admin, self.context, narrow)
        for name in ("docs", "shop"):
            out = json.loads(self.infra("peer", "add", name, "--circle", name, "--json", quiet=True))
            self.tokens[name] = out["token"]
        stage.env |= {"INFRA_MCP_KUBECONFIG": str(narrow), "INFRA_MCP_REPO": str(self.repo)}
        self.start_server()

    def git(self, *words: str, **how: object) -> str:
        """Run git in the infra repository, as its people do."""
        return self.stage.run(
            "git", "-C", self.repo, *words, shown="git " + " ".join(words) if not how else None, **how
        )

    def start_server(self) -> None:
        self.stage.command("infra-mcp", "serve", "--port", "0")
        log = (self.home / "server.log").open("w", encoding="utf-8")
        self.server = subprocess.Popen(
            [str(self.bin), "serve", "--port", "0"], cwd=self.repo, env=self.stage.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
        line = self.server.stdout.readline() if self.server.stdout else ""
        if "http" not in line:
            raise Failed(f"the server did not start: {line} {(self.home / 'server.log').read_text(encoding='utf-8')}")
        self.url = next(word for word in line.split() if word.startswith("http"))
        self.stage.show(line)

    # -- the steps after it
    async def tell(self, acts: int | None) -> None:
        async with (
            connected("docs", self.url, self.tokens["docs"], self.stage) as docs,
            connected("shop", self.url, self.tokens["shop"], self.stage) as shop,
        ):
            story = [
                partial(self.ask, docs),
                partial(self.release, docs),
                partial(self.fail, docs),
                partial(self.talk, docs, shop),
                partial(self.attend, docs),
                self.shell,
                partial(self.refuse, docs, shop),
                partial(self.environments, docs),
                partial(several, self, docs),
                partial(proposed, self, docs),
                self.look_back,
            ]
            for act in story[:acts]:
                await act()

    async def ask(self, docs: Peer) -> None:
        self.stage.step("Peer docs asks in one sentence, and is told what is now true")
        _, ask, _ = await docs.call("ask", peer_name="infra", query=SENTENCE)
        _, text, _ = await docs.call("wait_on_ack", correlation_id=ask.strip(), timeout_seconds=60)
        self.must("docs-staging up" in text and "audit_head" in text, "the ack says what is now true")
        self.stage.tell("The commit, with its diff, and what the cluster has now:")
        self.git("log", "-1", "--stat", "--format=%h %s%n%b")
        self.git("show", "--format=", "HEAD", "--", "*serviceaccount*")
        self.kube("-n", "docs-staging", "get", "namespace/docs-staging", "serviceaccount/default", "secret/registry-x")

    async def release(self, docs: Peer) -> None:
        self.stage.step("A release notice becomes a deploy of the app that was applied by hand")
        self.stage.tell(
            "First as a dry run. The plan shows what is taken over from kubectl: one field, and not the replicas."
        )
        _, _, plan = await docs.call("deploy", app="docs", version="0.13.4", dry_run=True)
        self.must("kubectl" in json.dumps(plan), "the plan shows the adoption")
        self.stage.tell("The catalogue in infra.toml says which message of docs means a deploy, as a whole:")
        await docs.call("notify_peer", peer_name="infra", message=f"{NOTICE}, but do NOT deploy yet")
        _, notice, _ = await docs.call("notify_peer", peer_name="infra", message=NOTICE)
        outcome = await self.outcome(docs, notice.strip())
        self.must("0.13.4 runs" in outcome, "the outcome is notified back, and only the whole message was taken")
        self.git("show", "--format=%h %s", "HEAD")
        out = self.kube("-n", "docs-live", "get", "deployment/docs", "-o", "wide")
        self.must("5/5" in out and "0.13.4" in out, "five replicas, as people set them, run 0.13.4")
        _, older, _ = await docs.call("notify_peer", peer_name="infra", message=NOTICE.replace("0.13.4", "0.13.2"))
        self.must("older-version" in await self.outcome(docs, older.strip()), "an older release is refused")

    async def outcome(self, peer: Peer, notice: str) -> str:
        """Wait in the peer's inbox for what came of a notify, and mark it as read."""
        for _ in range(60):
            _, _, found = await peer.call("inbox", wait_seconds=60)
            for message in found["messages"]:
                if message.get("reply_to") == notice:
                    await peer.call("inbox", mark_read=[message["id"]])
                    return str(message["text"])
        raise Failed(f"no outcome of {notice}")

    async def fail(self, docs: Peer) -> None:
        self.stage.step("Versions that do not come up: the cause, and everything back, in cluster and git")
        self.stage.tell(
            "An image whose registry does not answer may come right, so it gets its grace (1 s here) first."
        )
        ok, text, _ = await docs.call("deploy", app="docs", version="0.13.5-latepull")
        self.must(not ok and "i/o timeout" in text and "Rolled back" in text, "after its grace it is rolled back")
        self.stage.tell("An image that is not there cannot come right, so that is said at once.")
        ok, text, _ = await docs.call("deploy", app="docs", version="0.13.5-unpullable")
        self.must(not ok and "not there" in text and "Rolled back" in text, "it says that it was rolled back, and why")
        self.git("log", "-5", "--format=%h %s")
        out = self.kube("-n", "docs-live", "get", "deployment/docs", "-o", "wide")
        self.must("0.13.4" in out, "the cluster runs 0.13.4 again")

    async def talk(self, docs: Peer, shop: Peer) -> None:
        self.stage.step("Project peers ask each other; what was asked is kept until it is answered")
        _, ask, _ = await docs.call("ask", peer_name="shop", query="Which version of the API do you call?")
        _, _, found = await shop.call("inbox", wait_seconds=10)
        self.must([one["id"] for one in found["asks"]] == [ask.strip()], "shop finds the ask in its inbox")
        await shop.call("ack", correlation_id=ask.strip(), message="v2, since Monday")
        _, _, reply = await docs.call("wait_on_ack", correlation_id=ask.strip(), timeout_seconds=10)
        self.must(reply["reply"] == "v2, since Monday", "docs has the answer")

    async def attend(self, docs: Peer) -> None:
        self.stage.step("A session attends as infra: it takes what the grammar cannot read, and a person approves")
        async with attending(str(self.bin), str(self.repo), self.stage) as session:
            _, ask, _ = await docs.call("ask", peer_name="infra", query=LOOSE)
            ask = ask.strip()
            await session.call("inbox", wait_seconds=10, claim=ask)
            _, text, parked = await session.call(
                "provision_namespace", namespace="docs-preview", pull_secrets=["X"], on_behalf_of=ask
            )
            self.must("needs-approval" in text, "the session acts in docs' name; a rule wants a person's yes first")
            if self.keep:
                await self.watch(f"requests/{parked['request']}/approval")
            await session.call("approve", request_id=parked["request"])
            _, _, reply = await docs.call("wait_on_ack", correlation_id=ask, timeout_seconds=60)
            self.must("docs-preview up" in reply["reply"], "docs is told what is now true, in one ack")

    async def watch(self, page: str) -> None:
        """Print the link to a page of the dashboard; at a terminal, the person says when to go on."""
        self.infra("dashboard", page, "--print")
        if sys.stdin.isatty():
            self.stage.tell("Open the link to watch it; Enter goes on with the person's yes.")
            await anyio.to_thread.run_sync(sys.stdin.readline)

    async def shell(self) -> None:
        self.stage.step("The same from the shell: a release, and a change that a person approves")
        stage = self.stage
        docs = {"INFRA_MCP_TOKEN": self.tokens["docs"]}
        stage.env |= docs
        self.infra("notify", "infra", NOTICE.replace("0.13.4", "0.13.6"))
        out = self.infra("inbox", "--wait", "60")
        self.must("0.13.6 runs" in out, "the outcome is in the inbox")
        out = self.infra(
            "provision-namespace", "docs-shop-preview", "--no-wait", "--json", quiet=True,
            shown="infra-mcp provision-namespace docs-shop-preview --no-wait",
        )  # fmt: skip
        request = json.loads(out)["request"]
        self.infra("request", "watch", request, expect=4)
        del stage.env["INFRA_MCP_TOKEN"]
        self.approve(request)

    def approve(self, request: str) -> str:
        """Approve what waits, as the operator; what the requester is told at its end."""
        shown = self.infra("request", "show", request, "--json", quiet=True, shown="", expect=4)
        self.stage.tell("Without a token the command acts as the operator:")
        self.infra("approve", request, json.loads(shown)["effect_digest"])
        self.stage.env["INFRA_MCP_TOKEN"] = self.tokens["docs"]
        told = self.infra("request", "watch", request)
        del self.stage.env["INFRA_MCP_TOKEN"]
        return told

    async def refuse(self, docs: Peer, shop: Peer) -> None:
        self.stage.step("What is refused: another team's namespace, and a field that another manager holds")
        ok, text, _ = await shop.call("provision_namespace", namespace="docs-preview")
        self.must(not ok and "circles.shop.namespaces" in text, "the refusal names the rule")
        self.stage.tell("Now an image updater takes the image field for itself:")
        claim = {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "docs", "namespace": "docs-live"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "site", "image": "registry.example/docs/site:0.13.4-p1"},
            ]}}},
        }  # fmt: skip
        self.kube(
            "apply", "--server-side", "--force-conflicts", "--field-manager=image-updater", "-f", "-",
            stdin=json.dumps(claim),
            shown="kubectl apply --server-side --force-conflicts --field-manager=image-updater -f image.yaml",
        )  # fmt: skip
        ok, text, _ = await docs.call("deploy", app="docs", version="0.13.7")
        self.must(not ok and "image-updater" in text, "the conflict names field and owner")

    async def environments(self, docs: Peer) -> None:
        stage = self.stage
        stage.step("A version in a file: previewed without a cluster, then one app in two environments")
        stage.tell("In a checkout of a repository that Flux delivers; no server, cluster, token or policy is needed:")
        flux = self.home / "flux"
        commit_files(stage, flux, FLUX, "As it is")
        out = self.infra(
            "preview", "deploy", "reel", "10.9.2", "--repo", flux, shown="infra-mcp preview deploy reel 10.9.2"
        )
        self.must(
            "v10.9.2   # the last" in out and "Kustomization flux-system/media" in out, "the place, and who delivers"
        )
        stage.tell("An app that kustomize builds: a base, staging and production. Its people applied it by hand:")
        commit_files(stage, self.repo, GUIDE, "The guide, in two environments")
        for name in ("staging", "production"):
            self.kube(
                "apply", "-k", self.repo / "k8s/guide" / name, quiet=True, shown=f"kubectl apply -k k8s/guide/{name}"
            )
        both = "guide-staging,guide-production"
        rendered = self.infra("rbac", "render", "--namespaces", both, quiet=True, shown="")
        self.kube("apply", "--server-side", "-f", "-", stdin=rendered, quiet=True,
                  shown=f"infra-mcp rbac render --namespaces {both} | kubectl apply --server-side -f -")  # fmt: skip
        ok, text, _ = await docs.call("deploy", app="guide", version="2.1.0", environment="staging")
        self.must(ok and "guide 2.1.0 runs" in text, "staging runs it; production and the base were not touched")
        self.git("show", "--stat", "--format=%h %s", "HEAD")
        _, text, parked = await docs.call("deploy", app="guide", version="2.1.0", environment="production")
        self.must("needs-approval" in text, "production waits for a person's yes")
        self.must("guide 2.1.0 runs" in self.approve(parked["request"]), "approved, it landed there, too")

    async def look_back(self) -> None:
        self.stage.step("The trail: from the first word to landed")
        self.infra("audit", "search", "docs-staging")
        self.infra("audit", "verify")

    def must(self, so: bool, what: str) -> None:
        """Check a point of the story."""
        if not so:
            raise Failed(f"not so: {what}")
        print(f"   ✓ {what}", flush=True)

    def close(self, keep: bool) -> None:
        if keep:
            self.infra("dashboard", "--print")
            print(f"\nKept: server {self.url}, repository {self.repo}, kubeconfig {self.admin}.")
            print(f"End it with: kill {self.server.pid if self.server else ''}; {self.bin} sandbox down --name {NAME}")
            return
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        subprocess.run(
            [str(self.bin), "sandbox", "down", "--name", NAME],
            env=self.stage.env,
            stdin=subprocess.DEVNULL,
            check=False,
        )


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def main() -> int:
    """Tell the story."""
    options = argparse.ArgumentParser(
        description="The whole story of infra-mcp on a real control plane: a cluster is set up, then come the acts.",
        epilog="With KEEP=1 in the environment, server and cluster stay, with links to the dashboard.",
    )
    options.add_argument(
        "--acts", type=_count, metavar="N",
        help="only the first N acts; in the first a peer asks in one sentence and is told what is now true",
    )  # fmt: skip
    acts = options.parse_args().acts
    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="infra-mcp-demo-"))
    keep = os.environ.get("KEEP") == "1"
    demo = Demo(home, keep=keep)
    print(f"infra-mcp demo. Everything it makes is in {home}; the cluster listens on 127.0.0.1 only.")
    failed: BaseException | None = None
    try:
        demo.set_up()
        anyio.run(demo.tell, acts)
    except (Failed, subprocess.CalledProcessError) as error:
        failed = error
    except BaseExceptionGroup as group:
        failed = group
        while isinstance(failed, BaseExceptionGroup):  # a connection's, around what went wrong in it
            failed = failed.exceptions[0]
    finally:
        demo.close(keep and not failed)
    if failed is not None:
        print(f"\nThe demo did not come out as told: {failed}", file=sys.stderr)
        print(f"The server's log: {home / 'server.log'}", file=sys.stderr)
        return 1
    print(
        f"\nDone in {time.monotonic() - started:.0f} s. Try next: KEEP=1 make demo, then from the repository it names:"
    )
    print("   infra-mcp status --json     infra-mcp audit search rolled_back     make test")
    if not keep:
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
