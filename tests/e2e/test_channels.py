"""Every action through every channel: it lands on the cluster, and the ledger leads to the message that asked."""

import pytest
from e2e.channels import ATTEND, CHANNELS

from infra_mcp.model.actions import ACTIONS
from infra_mcp.policy.actions import RULES

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MORE = {"name": "more", "action": "scale", "arguments": {"app": "docs", "replicas": 4}}
# In this order: each action, its fields, what the answer says, and the app then. The rollback is of the configure.
STEPS = (
    ("provision_namespace", {"pull_secrets": ["X"]}, "secret X present", ("0.13.3", 2, "64Mi")),
    ("deploy", {"app": "docs", "version": "0.13.4"}, "docs 0.13.4 runs as", ("0.13.4", 2, "64Mi")),
    ("scale", {"app": "docs", "replicas": 3}, "docs scaled to 3: ", ("0.13.4", 3, "64Mi")),
    ("configure", {"app": "docs", "settings": {"memory": "128Mi"}}, "docs configured: ", ("0.13.4", 3, "128Mi")),
    ("rollback", {}, "docs as it was before: ", ("0.13.4", 3, "64Mi")),
    ("change_set", {"steps": [MORE]}, "docs scaled to 4: ", ("0.13.4", 4, "64Mi")),
    ("restart", {"app": "docs"}, "docs restarted: ", ("0.13.4", 4, "64Mi")),
)


@pytest.mark.promise("audit.both-ways", "audit.every-change", "cli.same-path", "attend.claim", "seam.action")
@pytest.mark.parametrize("name", CHANNELS)
async def test_every_action_lands_through_every_channel_and_is_traced_to_its_message(scenario, name):
    await scenario.accept_policy(scenario.apps() + ATTEND)
    made = {}
    for action, fields, says, then in STEPS:
        words = f"the docs team needs this, see ticket {len(made)}"
        more = {"provision_namespace": {"namespace": scenario.fresh()}, "rollback": {"request": made.get("configure")}}
        done = await CHANNELS[name].send(scenario, words, action, fields | more.get(action, {}))

        assert done.ok, (action, done.text)
        assert says in done.text
        assert app(scenario) == then, action
        made[action] = done.data["request"]
        await is_traced(scenario, CHANNELS[name], words, done)

    assert made.keys() == {name for name in ACTIONS if "kubernetes" in RULES[name].systems}
    assert scenario.live_object("secret", "registry-x", scenario.fresh()) is not None
    template = scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["template"]
    assert template["metadata"]["annotations"]["infra-mcp.dev/restart"] == made["restart"]


def app(scenario):
    """Version, replicas and memory of the live app; all of its pods are ready."""
    live = scenario.live_object("deployment", "docs", scenario.namespace)
    assert live["status"]["readyReplicas"] == live["status"]["replicas"] == live["spec"]["replicas"]
    (site,) = live["spec"]["template"]["spec"]["containers"]
    memory = site["resources"]["requests"]["memory"]
    return site["image"].rpartition(":")[2], live["spec"]["replicas"], memory


async def is_traced(scenario, channel, words, done):
    """From an object and from the words to the request, from the request to the words, and from the commit to it."""
    request = done.data["request"]
    (row,) = scenario.rows("SELECT * FROM requests WHERE id = ?", request)
    who = ("landed", "docs", "docs", channel.door, channel.attendant)
    assert tuple(row[key] for key in ("state", "caller", "circle", "door", "attendant")) == who
    asks = scenario.rows("SELECT * FROM asks WHERE request = ?", request)
    assert [(ask["id"], ask["sender"], ask["state"]) for ask in asks] == (
        [(row["ask"], "docs", "acked")] * channel.asks
    )
    assert (asks[0]["text"] if channel.asks else row["reason"]).startswith(words)

    for one in done.data["objects"]:
        found = (await scenario.tool("search_audit", object=one, limit=5)).data["events"]
        assert request in [event["request"] for event in found], one
    found = (await scenario.tool("search_audit", query=words)).data["events"]
    assert {event.get("ask") if channel.asks else event["request"] for event in found} >= {row["ask"] or request}
    if commit := done.data["commit"]:
        trailers = scenario.git("log", "-1", "--format=%(trailers:only,unfold)", commit).splitlines()
        acted = {f"Acted-By: {channel.attendant}"} if channel.attendant else set()
        assert {f"Infra-Request: {request}", "Requested-By: docs"} | acted <= set(trailers)
