"""Looking at a request: while it goes on, how far it is; and whose it is, whoever acted."""

from __future__ import annotations

import anyio
import pytest
from running_server import running_server

pytestmark = pytest.mark.anyio


@pytest.mark.promise("report.progress")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_get_request_shows_the_progress_of_an_open_request(tmp_path, mode):
    async with running_server(tmp_path, held=True) as at, at.http("docs", mode) as docs:
        given = {"namespace": "docs-a", "wait_seconds": 0}
        request = (await docs.call_tool("provision_namespace", given)).structured_content["request"]
        going = await docs.call_tool("get_request", {"request_id": request})
        at.engine.gate.set()
        with anyio.fail_after(30):
            await at.engine.wait(request, 10)
        ended = await docs.call_tool("get_request", {"request_id": request})

        assert going.structured_content["progress"] == f"{request} is in the test's hands"
        assert f"Now: {request} is in the test's hands" in going.content[0].text
        assert "progress" not in ended.structured_content
        assert (ended.structured_content["caller"], ended.structured_content["circle"]) == ("docs", "docs")
