"""The commands that begin the page about DNS, run from a shell against a whole server and a real BIND."""

import re
import shlex

import pytest
from anyio import to_thread
from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy
from examples import DOCS
from name_servers import primary
from server_process import start_server
from shell import Shell

from infra_mcp.policy.policy import digest_of
from infra_mcp.server import offline

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("dns.record")]

FIRST = re.search(r"^```\n(.*?)^```$", (DOCS / "dns.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def test_the_pages_first_commands_set_a_record_and_remove_it(tmp_path, tmp_path_factory):
    sets, removes = (shlex.split(one)[1:] for one in FIRST[1].splitlines())
    with primary(tmp_path_factory.mktemp("p"), "www 300 IN A 192.0.2.1\n") as bind:
        ground = ZoneGround(tmp_path)
        policy = zone_policy(bind.at, bind.key_file, bind.at)
        ground.make(policy, {PATH: TREE})
        await offline.call(ground.settings, "operator/policy.accept", {"digest": digest_of(policy)})
        added = await offline.call(ground.settings, "operator/peer.add", {"name": "docs", "circle": "docs"})
        with await to_thread.run_sync(start_server, ground.settings) as server:
            run = Shell(tmp_path, INFRA_MCP_URL=server.url, INFRA_MCP_TOKEN=added["token"])
            done, there = await run(*sets), (bind.values("www", "A"), bind.ttl("www", "A"))
            gone = await run(*removes)

        assert (done.code, there) == (0, (["198.51.100.7"], 300)), done
        assert (gone.code, bind.values("www", "A")) == (0, []), gone
        assert bind.at in done.out
        assert ground.show() == "---\n{}\n"
