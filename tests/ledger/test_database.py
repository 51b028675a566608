"""What happens to the files: who may read them, and every way in which they can fail. No row, no effect."""

import os
import re
import shutil
import sqlite3
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import infra_mcp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.masking import Masker
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("24")]


async def unavailable(awaitable, code="ledger-unavailable"):
    with pytest.raises(InfraError) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


async def test_files_are_for_their_owner_only(ledger, accept, place):
    await accept(ledger)
    assert place.stat().st_mode & 0o777 == 0o700
    files = {file.name: file.stat().st_mode & 0o777 for file in place.iterdir()}
    assert set(files) > {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "keys.json"}
    assert set(files.values()) == {0o600}


async def test_files_that_others_could_read_are_closed_to_them(place):
    await (await Ledger.open_in(place)).aclose()
    place.chmod(0o755)
    (place / "ledger.sqlite3").chmod(0o644)
    await (await Ledger.open_in(place)).aclose()
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / "ledger.sqlite3").stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("intake.saved-first")
async def test_each_public_write_is_one_transaction(ledger, accept, receipt, docs):
    said = []
    with ledger._database._engine.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(said.append)
    said.clear()
    taken = await accept(ledger, ask="w")
    await ledger.record(taken.request.id, State.PLANNED, "planned", {"objects": ["a/b/c"]}, record={"a": 1})
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    await ledger.delivered(taken.ask_id)
    await ledger.note("kind", "docs", {})
    await ledger.add_peer("docs", "docs")
    await ledger.set_description("docs", "x")
    await ledger.issue_token("docs")
    await ledger.revoke_tokens("docs")
    await ledger.remove_peer("docs")
    await ledger.accept_policy("sha256:a", "t", "operator")
    begun = [words for words in said if words.startswith("BEGIN")]
    assert begun == ["BEGIN IMMEDIATE"] * 11
    assert said.count("COMMIT") == len(begun)
    await ledger.caller_for_token("imcp_x")
    assert docs
    assert [words for words in said if words.startswith("BEGIN")][11:] == ["BEGIN"], "a read takes no write lock"


async def test_a_directory_in_its_place_is_told(place):
    (place / "ledger.sqlite3").mkdir(parents=True)
    error = await unavailable(Ledger.open_in(place))
    assert "directory" in error.what


async def test_a_file_where_the_directory_should_be_is_told(place):
    place.write_text("", encoding="utf-8")
    await unavailable(Ledger.open_in(place))


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_told_and_left_as_it_is(place, content):
    place.mkdir()
    (place / "ledger.sqlite3").write_bytes(content)
    await unavailable(Ledger.open_in(place))
    assert (place / "ledger.sqlite3").read_bytes() == content


async def test_another_programs_database_is_told_and_left_as_it_is(place):
    place.mkdir()
    with sqlite3.connect(place / "ledger.sqlite3") as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    content = (place / "ledger.sqlite3").read_bytes()
    await unavailable(Ledger.open_in(place))
    assert (place / "ledger.sqlite3").read_bytes() == content


async def test_a_cut_file_is_told(place, accept):
    ledger = await Ledger.open_in(place)
    for number in range(20):
        await accept(ledger, f"docs-{number}")
    await ledger.aclose()
    file = place / "ledger.sqlite3"
    os.truncate(file, file.stat().st_size // 2)
    await unavailable(Ledger.open_in(place))


@pytest.mark.parametrize("how", ["emptied", "removed"])
async def test_a_lost_ledger_is_not_taken_for_a_new_one(place, accept, how):
    ledger = await Ledger.open_in(place)
    await accept(ledger)
    await ledger.aclose()
    file = place / "ledger.sqlite3"
    os.truncate(file, 0) if how == "emptied" else file.unlink()
    error = await unavailable(Ledger.open_in(place))
    assert "keys.json" in error.next_step
    await unavailable(Ledger.open_in(place))


async def test_the_ledger_of_another_place_is_not_taken_for_this_one(place, tmp_path):
    for directory in (place, tmp_path / "other"):
        await (await Ledger.open_in(directory)).aclose()
    shutil.copyfile(tmp_path / "other" / "ledger.sqlite3", place / "ledger.sqlite3")
    await unavailable(Ledger.open_in(place))


async def test_a_read_only_file_can_be_read_and_not_written(place, accept):
    ledger = await Ledger.open_in(place)
    taken = await accept(ledger)
    await ledger.aclose()
    url = f"sqlite:///file:{place / 'ledger.sqlite3'}?mode=ro&uri=true"
    reader = await Ledger.open(url, Masker(b"k" * 32))
    try:
        assert (await reader.request(taken.request.id)).state is State.QUEUED
        error = await unavailable(reader.record(taken.request.id, State.PLANNED, "planned", {}))
        assert "readonly" in error.what
    finally:
        await reader.aclose()


async def test_a_locked_ledger_is_told_after_the_wait_and_works_again(place, accept, raw):
    ledger = await Ledger.open_in(place, busy_seconds=0.05)
    try:
        other = raw()
        other.execute("BEGIN IMMEDIATE")
        error = await unavailable(accept(ledger))
        assert "locked" in error.what
        assert await ledger.open_requests() == [], "reading goes on"
        other.execute("ROLLBACK")
        assert (await accept(ledger)).fresh
    finally:
        await ledger.aclose()


async def test_a_full_disk_is_told_nothing_is_half_written_and_it_works_again(ledger, accept):
    await accept(ledger, "docs-first")

    def pages(most):
        return ledger._database._read(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={most}").scalar()
        )

    most = await anyio.to_thread.run_sync(pages, 1)
    head = await ledger.head()
    error = await unavailable(accept(ledger, "docs-second", words="w" * 200_000))
    assert "full" in error.what
    assert "wwww" not in str(error)
    assert await ledger.head() == head
    assert len(await ledger.open_requests()) == 1
    await anyio.to_thread.run_sync(pages, most + 1_000)
    assert (await accept(ledger, "docs-second")).fresh
    assert (await ledger.verify([head])).consistent


@pytest.mark.parametrize("journal", ["removed", "cut", "emptied"])
async def test_a_journal_lost_while_the_server_runs_stops_every_write(place, accept, journal):
    ledger = await Ledger.open_in(place)
    try:
        for number in range(5):
            await accept(ledger, f"docs-{number}")
        file = place / "ledger.sqlite3-wal"
        if journal == "removed":
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2 if journal == "cut" else 0)
        await unavailable(accept(ledger))
        await unavailable(ledger.note("kind", None, {}))
    finally:
        await ledger.aclose()


async def test_a_journal_that_another_program_wrote_back_is_no_harm(ledger, accept, raw):
    await accept(ledger, "docs-first")
    raw().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await accept(ledger, "docs-second")
    await accept(ledger, "docs-third")
    assert (await ledger.verify([await ledger.head()])).proved_to == 3


@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
async def test_a_file_lost_while_the_server_runs_stops_every_write(place, accept, raw, how):
    ledger = await Ledger.open_in(place)
    try:
        taken = await accept(ledger)
        file = place / "ledger.sqlite3"
        if how == "cut":
            raw().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await ledger.record(taken.request.id, State.PLANNED, "planned", {})
            os.truncate(file, 4096)
        else:
            content = file.read_bytes()
            file.unlink()
            if how == "replaced":
                file.write_bytes(content)
        await unavailable(accept(ledger))
        await unavailable(ledger.record(taken.request.id, State.PLANNED, "planned", {}))
        await unavailable(ledger.note("kind", None, {}))
    finally:
        await ledger.aclose()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM events WHERE seq = 2",
        "DELETE FROM events",
        "UPDATE events SET hash = 'x' WHERE seq = 2",
        "UPDATE events SET seq = 3 WHERE seq = 2",
    ],
)
async def test_events_cut_or_changed_at_the_end_while_the_server_runs_stop_every_write(ledger, accept, raw, change):
    for number in range(2):
        await accept(ledger, f"docs-{number}")
    connection = raw()
    for trigger in ("events_no_update", "events_no_delete", "events_in_order"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(change)
    await unavailable(accept(ledger, "docs-9"))
    await unavailable(ledger.note("kind", None, {}))


async def test_a_second_writer_that_only_adds_is_no_harm(ledger, place, accept):
    other = await Ledger.open_in(place)
    try:
        for number in range(3):
            await accept(ledger, f"docs-a{number}")
            await accept(other, f"docs-b{number}")
    finally:
        await other.aclose()
    report = await ledger.verify([])
    assert (report.consistent, report.events) == (True, 6)


@pytest.mark.parametrize(
    "change",
    ["UPDATE requests SET action = '{'", "UPDATE requests SET state = 'x'", "UPDATE requests SET record = '[]'"],
)
async def test_a_row_that_was_made_unreadable_is_told(ledger, accept, raw, change):
    await accept(ledger)
    raw().execute(change)
    await unavailable(ledger.open_requests())


async def test_an_error_carries_no_words_of_anyone(ledger, accept, submission):
    taken = await accept(ledger, "docs-first")
    second = submission("docs-second", words="the words of someone")
    error = await unavailable(ledger.accept(second, request_id=taken.request.id, ask=None, now="2026-11-22T10:00:00Z"))
    shown = f"{error}{error.__cause__}"
    assert "UNIQUE" in shown
    assert "someone" not in shown


# -- cancelling


@pytest.fixture
def held(ledger, monkeypatch):
    """Holds transactions of the ledger inside: `began` is set there, and they go on once `go` is."""

    class Held:
        began = anyio.Event()
        go = threading.Event()

    look = ledger._database._look

    def wait():
        anyio.from_thread.run_sync(Held.began.set)
        assert Held.go.wait(10)
        look()

    def hold():
        monkeypatch.setattr(ledger._database, "_look", wait)
        return Held

    return hold


async def test_a_write_that_has_begun_is_finished_when_its_caller_is_cancelled(ledger, accept, held):
    gate = held()
    async with anyio.create_task_group() as group:
        group.start_soon(accept, ledger)
        with anyio.fail_after(30):
            await gate.began.wait()
        group.cancel_scope.cancel()
        gate.go.set()
    assert len(await ledger.open_requests()) == 1
    assert (await ledger.verify([])).consistent


async def test_a_write_that_has_not_begun_is_not_made_when_its_caller_is_cancelled(ledger, accept, held):
    gate = held()
    async with anyio.create_task_group() as group:
        group.start_soon(accept, ledger, "docs-first")
        with anyio.fail_after(30):
            await gate.began.wait()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await accept(ledger, "docs-second")
        gate.go.set()
    assert [request.action.namespace for request in await ledger.open_requests()] == ["docs-first"]


async def test_many_writers_at_once_take_turns(ledger, accept):
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(accept, ledger, f"docs-{number}")
    report = await ledger.verify([await ledger.head()])
    assert (report.consistent, report.events, report.proved_to) == (True, 30, 30)
    assert len({request.id for request in await ledger.open_requests()}) == 30


@pytest.mark.fault("l07")
def test_nothing_promises_another_database():
    root = Path(infra_mcp.__file__).parents[1]
    decided = root / "docs" / "adr" / "0014-one-ledger-one-server.md"
    files = [root / "pyproject.toml", root / "README.md", *(root / "docs").rglob("*.md")]
    files += (root / "infra_mcp").rglob("*.py")
    words = re.compile(r"postgres|mysql|mariadb|other databases|another database", re.IGNORECASE)

    assert [file.name for file in files if file != decided and words.search(file.read_text("utf-8"))] == []
    assert "SQLite" in decided.read_text("utf-8")
