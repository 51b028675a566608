"""The one HTTP client of forges: the token goes nowhere else, answers are bounded, and a forge's limits are kept."""

from contextlib import asynccontextmanager
from email.utils import format_datetime

import anyio
import pytest
from scripted_http import Answer, scripted

from infra_mcp.clients.forge import http, limits
from infra_mcp.clients.forge.http import Api, Http
from infra_mcp.clients.forge.limits import asked_to_wait, parsed_time
from infra_mcp.errors import InfraError, Unavailable

pytestmark = pytest.mark.anyio
TOKEN = "made-up-token-0123456789"


@asynccontextmanager
async def talking(answers, tmp_path):
    """A client of a server that gives these answers one after the other, the last one for good."""
    left = list(answers)
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN, encoding="utf-8")
    with scripted(lambda _: left.pop(0) if len(left) > 1 else left[0]) as (url, seen):
        client = Http(Api(url, file, "token", {}, "forge/team/infra"))
        try:
            yield client, seen
        finally:
            await client.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.01))


async def failure(call):
    with pytest.raises(InfraError) as caught:
        await call
    assert TOKEN not in str(caught.value)
    return caught.value


async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(tmp_path):
    with scripted(lambda _: Answer({"stolen": True})) as (elsewhere, theirs):
        moved = Answer(status=302, headers={"Location": f"{elsewhere}/x?y=z"})
        async with talking([moved], tmp_path) as (client, seen):
            error = await failure(client.read("/user"))

    assert (error.code, theirs) == ("forge-refused", [])
    assert "redirects to" in error.what
    assert "?y=z" not in error.what
    assert [one.headers["Authorization"] for one in seen] == [f"token {TOKEN}"]


async def test_of_a_link_to_the_next_page_only_the_query_is_taken(tmp_path):
    with scripted(lambda _: Answer([])) as (elsewhere, theirs):
        first = Answer([1, 2], headers={"Link": f'<{elsewhere}/other?page=2&limit=2>; rel="next", <x>; rel="last"'})
        async with talking([first, Answer([3])], tmp_path) as (client, seen):
            found = [one async for one in client.pages("/list", {"limit": "2"})]

    assert (found, theirs) == ([1, 2, 3], [])
    assert [one.path for one in seen] == ["/list?limit=2", "/list?page=2&limit=2"]


async def test_a_list_without_end_is_refused_and_not_read_for_ever(tmp_path):
    page = Answer([1], headers={"Link": '</list?page=2>; rel="next"'})
    async with talking([page], tmp_path) as (client, seen):

        async def every():
            return [one async for one in client.pages("/list", {})]

        error = await failure(every())

    assert error.code == "forge-refused"
    assert len(seen) == http.MAX_PAGES


async def test_an_answer_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "MAX_BYTES", 1000)
    async with talking([Answer(raw=b'"' + b"x" * 2000 + b'"')], tmp_path) as (client, _):
        assert "too large" in (await failure(client.read("/user"))).what


async def test_what_is_no_json_says_nothing_of_the_forge(tmp_path):
    async with talking([Answer(raw=b"<html>log in first</html>")], tmp_path) as (client, _):
        error = await failure(client.read("/user"))

    assert isinstance(error, Unavailable)
    assert error.code == "forge-unreachable"


@pytest.mark.parametrize("bad", [Answer(status=502, raw=b"bad gateway"), Answer(broken=True)], ids=["502", "broken"])
async def test_a_read_is_tried_again_and_a_write_is_not(tmp_path, bad):
    async with talking([bad, bad, Answer({"ok": 1})], tmp_path) as (client, seen):
        assert await client.read("/user") == {"ok": 1}
        assert len(seen) == 3
    async with talking([bad], tmp_path) as (client, seen):
        error = await failure(client.write("POST", "/pulls", {}))

    assert len(seen) == 1
    assert isinstance(error, Unavailable)
    assert "unknown" in error.what


async def test_a_short_wait_that_the_forge_asks_for_is_kept_for_a_write_too(tmp_path):
    busy = Answer({"message": "slow down"}, 429, {"Retry-After": "1"})
    async with talking([busy, Answer({"number": 1})], tmp_path) as (client, seen):
        with anyio.fail_after(30):
            assert await client.write("POST", "/pulls", {"a": 1}) == {"number": 1}

    assert [one.body for one in seen] == [{"a": 1}, {"a": 1}]


async def test_a_long_wait_fails_at_once_and_nothing_is_sent_before_it_is_over(tmp_path):
    limited = Answer({"message": "API rate limit exceeded"}, 403, {"X-RateLimit-Remaining": "0"})
    async with talking([limited], tmp_path) as (client, seen):
        first = await failure(client.read("/user"))
        second = await failure(client.write("POST", "/pulls", {}))

    assert len(seen) == 1
    assert all(isinstance(one, Unavailable) for one in (first, second))
    assert "asks to wait" in second.what


async def test_the_forges_words_are_one_clean_line(tmp_path):
    said = {
        "message": 'no "way"\x1b[31m\n</system>',
        "errors": [{"message": "A pull request already exists"}, "x\n" * 900],
    }
    async with talking([Answer(said, 422)], tmp_path) as (client, _):
        error = await failure(client.read("/user"))

    assert r"""422: "no 'way'\x1b[31m </system>; A pull request already exists; x x""" in error.what
    assert len(error.what) < 800


async def test_a_token_that_others_may_read_is_not_sent(tmp_path):
    async with talking([Answer({})], tmp_path) as (client, seen):
        (tmp_path / "token").chmod(0o644)
        error = await failure(client.read("/user"))

    assert (error.code, seen) == ("setup-failed", [])


async def test_a_persons_netrc_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login person password theirs\n", encoding="utf-8")
    with scripted(lambda _: Answer({})) as (url, seen):
        client = Http(Api(url, None, "token", {}, "forge"))
        await client.read("/user")
        await client.aclose()

    assert "Authorization" not in seen[0].headers


@pytest.mark.parametrize(
    ("status", "headers", "data", "wait"),
    [
        (403, {}, b'{"message": "Must have admin rights"}', None),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit."}', 60.0),
        (429, {}, b"", 60.0),
        (429, {"Retry-After": "30"}, b"", 30.0),
        (403, {"Retry-After": "7"}, b"", 7.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000040"}, b"", 40.0),
        (403, {"X-RateLimit-Remaining": "0"}, b"", 60.0),
        (403, {"X-RateLimit-Remaining": "3"}, b"", None),
        (429, {"Retry-After": "0"}, b"", 1.0),
        (429, {"Retry-After": "1e99"}, b"", 3600.0),
        (429, {"Retry-After": "nan"}, b"", 60.0),
        (429, {"Retry-After": "soon"}, b"", 60.0),
        (429, {"Retry-After": "Sun, 09 Sep 2001 01:47:10 GMT"}, b"", 30.0),
        (503, {"Retry-After": "5"}, b"", 5.0),
        (503, {}, b"", None),
        (200, {"X-RateLimit-Remaining": "0"}, b"", None),
        (404, {"Retry-After": "5"}, b"", None),
    ],
)
async def test_how_long_a_forge_asks_to_wait(status, headers, data, wait):
    """By its own clock: the answers were given at second 1 000 000 000 of the epoch."""
    given = {"Date": format_datetime(parsed_time("2001-09-09T01:46:40Z"), usegmt=True), **headers}

    assert asked_to_wait(status, given, data) == wait


async def test_a_time_that_cannot_be_read_is_no_recent_one():
    assert parsed_time("2026-01-02T03:04:05Z") == parsed_time("2026-01-02T04:04:05+01:00")
    assert parsed_time(None) == parsed_time("yesterday") == limits.parsed_time("1970-01-01T00:00:00")
