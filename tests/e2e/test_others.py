"""Others at work: twenty requests at once, while a second writer uses the same objects, branch and checkout."""

import json
import threading
import time

import anyio
import pytest
from e2e.scenario import APP, Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

WORDS = ("a", "b", "c", "d")
VERSIONS = ("1.0.1", "1.0.2")
APPS = """
[apps.site-{word}]
owner = "docs"
workload = "{namespace}/deployment/docs"
image = "registry.example/docs/site:{{version}}"
grace = "20s"
timeout = "120s"
"""


class Writer(threading.Thread):
    """Somebody with kubectl and git, who keeps a list of what they did and expects to find it again."""

    def __init__(self, scenario, spaces):
        super().__init__(daemon=True)
        self.scenario, self.spaces = scenario, spaces
        self.stop = threading.Event()
        self.labels, self.replicas, self.commits, self.faults = {}, {}, [], []

    def run(self):
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                for space in self.spaces:
                    self.disturb(space, turn)
                self.commit(turn)
                self.scribble(turn)
            except Exception as error:  # noqa: BLE001 - shown by the test
                self.faults.append(repr(error))
                return

    def disturb(self, space, turn):
        self.scenario.kubectl("-n", space, "label", "--overwrite", "deployment/docs", f"turn=t{turn}")
        self.labels[space] = f"t{turn}"
        self.scenario.kubectl("-n", space, "scale", "deployment/docs", f"--replicas={2 + turn % 3}")
        self.replicas[space] = 2 + turn % 3
        self.scenario.kubectl("-n", space, "delete", "pod", "-l", "app=docs", "--wait=false", "--ignore-not-found")

    def commit(self, turn):
        """A commit of one's own file, tried again while git is busy, as people do."""
        path = self.scenario.repo / "notes" / f"{turn}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"turn {turn}\n", encoding="utf-8")
        for _ in range(200):
            self.scenario.git("add", str(path), check=False)
            self.scenario.git("commit", "-q", "-m", f"note {turn}", "--", str(path), check=False)
            if self.scenario.git("status", "--porcelain", "--", str(path)) == "":
                self.commits.append(f"note {turn}")
                return
            time.sleep(0.01)
        self.faults.append(f"could not commit note {turn}")

    def scribble(self, turn):
        """An edit that stays uncommitted."""
        with (self.scenario.repo / "README.md").open("a", encoding="utf-8") as file:
            file.write(f"scribble {turn}\n")
        self.scribbled = turn


@pytest.fixture
async def town(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario with four apps that people wrote and applied by hand, each in a namespace that was there before."""
    scenario = Scenario(cluster_setup, tmp_path, live=False)
    spaces = {word: scenario.fresh(word) for word in WORDS}
    scenario.policy = "".join(APPS.format(word=word, namespace=space) for word, space in spaces.items())
    async with scenario:
        for word, space in spaces.items():
            path = scenario.repo / "k8s" / f"site-{word}.yaml"
            path.write_text(APP.format(namespace=space), encoding="utf-8")
            scenario.kubectl("apply", "-f", str(path))
        cluster_setup.apply(cluster_setup.bindings(*spaces.values()))
        scenario.git("add", ".")
        scenario.git("commit", "-q", "-m", "Four sites")
        yield scenario, spaces


def _requests(spaces):
    for word, space in spaces.items():
        yield "provision_namespace", {"namespace": space, "pull_secrets": ["X"]}
        yield "provision_namespace", {"namespace": space, "quota": {"pods": 200}}
        yield "provision_namespace", {"namespace": space, "default_deny": True}
        for version in VERSIONS:
            yield "deploy", {"app": f"site-{word}", "version": version}


@pytest.mark.promise("plan.stale", "plan.users-tree")
@pytest.mark.promise("apply.locks")
async def test_twenty_requests_land_and_nobodys_change_is_lost_while_others_work(town):
    scenario, spaces = town
    writer = Writer(scenario, list(spaces.values()))
    replies = []

    async def send(client, tool, arguments):
        result = await client.call_tool(tool, arguments | {"wait_seconds": 240})
        replies.append((tool, arguments, result.is_error, result.content[0].text))

    writer.start()
    try:
        async with scenario.peer() as client, anyio.create_task_group() as group:
            for tool, arguments in _requests(spaces):
                group.start_soon(send, client, tool, arguments)
    finally:
        writer.stop.set()
        writer.join(60)

    assert len(replies) == 20
    assert [one for one in replies if one[2]] == []
    assert writer.faults == []
    _nothing_of_the_writer_is_lost(scenario, writer)
    _all_of_ours_is_there(scenario, spaces)


def _nothing_of_the_writer_is_lost(scenario, writer):
    for space in writer.spaces:
        live = scenario.live_object("deployment", "docs", space)
        assert live["metadata"]["labels"]["turn"] == writer.labels[space]
        assert live["spec"]["replicas"] == writer.replicas[space]
    subjects = scenario.git("log", "--format=%s").splitlines()
    assert [one for one in writer.commits if subjects.count(one) != 1] == []
    text = (scenario.repo / "README.md").read_text(encoding="utf-8")
    assert [n for n in range(1, writer.scribbled + 1) if f"scribble {n}\n" not in text] == []
    assert scenario.git("status", "--porcelain").split() == ["M", "README.md"]


def _all_of_ours_is_there(scenario, spaces):
    rows = scenario.requests()
    assert {row["state"] for row in rows} == {"landed"}
    commits = scenario.git("log", "--format=%(trailers:key=Infra-Request,valueonly)").split()
    assert [row["id"] for row in rows if commits.count(row["id"]) != 1] == []
    last = {}
    for row in sorted(rows, key=lambda row: row["position"]):
        action = json.loads(row["action"])
        if action["action"] == "deploy":
            last[action["app"]] = row["id"]
    for word, space in spaces.items():
        live = scenario.live_object("deployment", "docs", space)
        (container,) = live["spec"]["template"]["spec"]["containers"]
        path = scenario.repo / "k8s" / f"site-{word}.yaml"
        assert container["image"] in path.read_text(encoding="utf-8")
        assert live["metadata"]["annotations"]["infra-mcp.dev/request"] == last[f"site-{word}"]
        assert scenario.live_object("serviceaccount", "default", space)["imagePullSecrets"] == [{"name": "registry-x"}]
        assert scenario.live_object("resourcequota", "quota", space) is not None
        assert scenario.live_object("networkpolicy", "default-deny", space) is not None
