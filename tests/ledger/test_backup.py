"""Backups: taken while the ledger is written to, whole or not there, and what is made of them again."""

import io
import json
import os
import sqlite3
import tarfile

import anyio
import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger import backup as module
from infra_mcp.ledger.backup import backup, restore

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


async def refusal(awaitable, code="invalid-argument"):
    with pytest.raises(InfraError) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


@pytest.fixture
async def saved(ledger, accept, receipt, docs, shop, at, place, tmp_path):
    """A backup of a ledger with something of everything, and what was in it."""
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    taken = await accept(ledger, ask="I need a namespace docs-staging")
    head = (await ledger.finish(taken.request.id, receipt(taken.request), {})).audit_head
    asked = await ledger.mail.open_ask(docs, at(shop), "which version?", now=NOW)
    secrets = await ledger.key("secrets")
    snapshot = await backup(place, tmp_path / "saved.tar")
    found = {"file": tmp_path / "saved.tar", "snapshot": snapshot, "token": token, "head": head}
    return found | {"asked": asked, "secrets": secrets, "request": taken.request.id}


@pytest.mark.promise("upgrade.schema")
async def test_a_restored_ledger_opens_verifies_and_keeps_its_keys(saved, tmp_path, docs, shop, at, place):
    new = tmp_path / "new"
    assert await restore(saved["file"], new) == saved["snapshot"]
    ledger = await Ledger.open_in(new)
    try:
        assert await ledger.caller_for_token(saved["token"]) == docs
        assert (await ledger.request(saved["request"])).receipt["audit_head"] == saved["head"]
        assert (await ledger.mail.inbox(at(shop))).asks == (saved["asked"],)
        assert await ledger.key("secrets") == saved["secrets"]
        assert (await ledger.head(), saved["snapshot"].events) == (saved["snapshot"].head, 5)
        report = await ledger.verify([saved["head"], saved["snapshot"].head])
        assert (report.consistent, report.missing_heads) == (True, ())
        await ledger.mail.ack(shop, saved["asked"].id, "it goes on", now=NOW)
    finally:
        await ledger.aclose()
    keys, before = (json.loads((folder / "keys.json").read_text("utf-8")) for folder in (new, place))
    assert keys.items() >= before.items(), "one that is first needed there may have come"
    assert {file.stat().st_mode & 0o777 for file in new.iterdir()} == {0o600}
    assert new.stat().st_mode & 0o777 == 0o700


@pytest.mark.promise("upgrade.schema")
async def test_a_backup_taken_while_writes_go_on_holds_all_that_was_answered_before_it(
    ledger, place, tmp_path, docs, shop, at
):
    sent = []

    async def write():
        while True:
            sent.append(await ledger.mail.post(docs, [at(shop)], "w" * 500, now=NOW))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(write)
        for number in range(3):
            with anyio.fail_after(20):
                while len(sent) < 40 * (number + 1):
                    await anyio.lowlevel.checkpoint()
            before = list(sent)
            snapshot = await backup(place, tmp_path / f"{number}.tar")
            assert snapshot.events >= len(before)
            assert snapshot.events < len(sent) + 4 or number, "it is of one moment"
            await restore(tmp_path / f"{number}.tar", tmp_path / f"restored{number}")
            restored = await Ledger.open_in(tmp_path / f"restored{number}")
            kept = {one.id for one in (await restored.mail.inbox(at(shop), limit=10_000)).messages}
            assert kept >= set(before)
            assert len(kept) == snapshot.events
            assert (await restored.verify([snapshot.head])).proved_to == snapshot.events
            await restored.aclose()
        group.cancel_scope.cancel()
    assert (await ledger.verify([])).consistent


async def test_a_backup_is_one_file_for_its_owner_and_nothing_is_left_beside_it(saved, tmp_path):
    assert saved["file"].stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["saved.tar", "state"]
    with tarfile.open(saved["file"]) as found:
        assert found.getnames() == ["keys.json", "ledger.sqlite3"]


async def test_nothing_is_written_over(saved, place, tmp_path):
    before = saved["file"].read_bytes()
    await refusal(backup(place, saved["file"]))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    await refusal(backup(place, tmp_path / "link"))
    await refusal(restore(saved["file"], place))
    assert saved["file"].read_bytes() == before
    assert not (tmp_path / "nowhere").exists()


async def test_a_file_that_appears_meanwhile_is_not_written_over(ledger, place, tmp_path, monkeypatch):
    assert await ledger.head()
    pack, target = module._pack, tmp_path / "saved.tar"

    def slow(*given):
        pack(*given)
        target.write_text("somebody else's", encoding="utf-8")

    monkeypatch.setattr(module, "_pack", slow)
    await refusal(backup(place, target))
    assert target.read_text(encoding="utf-8") == "somebody else's"


async def test_what_is_not_there_is_told(place, tmp_path, saved):
    await refusal(backup(tmp_path / "none", tmp_path / "x.tar"), "not-found")
    await refusal(backup(place, tmp_path / "none" / "x.tar"))
    await refusal(restore(tmp_path / "none.tar", tmp_path / "new"), "not-found")
    assert saved["file"].exists()


@pytest.mark.parametrize("where", ["infra_mcp.ledger.backup._pack", "infra_mcp.ledger.backup._put"])
async def test_a_backup_that_fails_leaves_nothing(ledger, place, tmp_path, monkeypatch, where):
    assert await ledger.head()

    def fail(*_given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where, fail)
    error = await refusal(backup(place, tmp_path / "saved.tar"), "ledger-unavailable")
    assert "No space left" in error.what
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


async def test_a_file_system_without_hard_links_is_enough(ledger, place, tmp_path, monkeypatch):
    assert await ledger.head()

    def no_links(*_given):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    await backup(place, tmp_path / "saved.tar")
    await restore(tmp_path / "saved.tar", tmp_path / "new")
    assert (tmp_path / "new" / "ledger.sqlite3").exists()


# -- what is no backup


def sized(size, **fields):
    header = tarfile.TarInfo("keys.json")
    for name, value in (fields | {"size": size}).items():
        setattr(header, name, value)
    return header.tobuf(tarfile.GNU_FORMAT)


def tar(path, *members, form=tarfile.GNU_FORMAT):
    """An archive of (name, content or a changed header)."""
    with tarfile.open(path, "w", format=form) as made:
        for name, content, changes in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            for key, value in changes.items():
                setattr(header, key, value)
            made.addfile(header, io.BytesIO(content) if header.isreg() else None)
    return path


@pytest.fixture
def parts(saved):
    """The members of a good backup."""
    with tarfile.open(saved["file"]) as found:
        keys, ledger = (found.extractfile(name).read() for name in ("keys.json", "ledger.sqlite3"))
    return ("keys.json", keys, {}), ("ledger.sqlite3", ledger, {})


async def test_such_an_archive_made_by_tar_itself_is_taken(parts, tmp_path):
    keys, ledger = parts
    await restore(tar(tmp_path / "made.tar", keys, ledger), tmp_path / "new")


# Members of archives that are no backup: a name, the content (of a good backup, where it names a member), and what is
# different in its header.
KEYS, LEDGER = ("keys.json", "keys.json", {}), ("ledger.sqlite3", "ledger.sqlite3", {})
BAD = {
    "nothing": [],
    "no ledger": [KEYS],
    "other order": [LEDGER, KEYS],
    "one more": [KEYS, LEDGER, ("more", b"x", {})],
    "a path that climbs": [("../keys.json", "keys.json", {}), LEDGER],
    "an absolute path": [("/tmp/keys.json", "keys.json", {}), LEDGER],
    "a folder": [KEYS, ("x/ledger.sqlite3", "ledger.sqlite3", {})],
    "a symbolic link": [KEYS, ("ledger.sqlite3", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
    "a hard link": [KEYS, ("ledger.sqlite3", b"", {"type": tarfile.LNKTYPE, "linkname": "keys.json"})],
    "a directory": [KEYS, ("ledger.sqlite3", b"", {"type": tarfile.DIRTYPE})],
    "a pipe": [KEYS, ("ledger.sqlite3", b"", {"type": tarfile.FIFOTYPE})],
    "a sparse file": [KEYS, ("ledger.sqlite3", "ledger.sqlite3", {"type": tarfile.GNUTYPE_SPARSE})],
    "a file with a link's target": [KEYS, ("ledger.sqlite3", "ledger.sqlite3", {"linkname": "/etc/passwd"})],
    "large keys": [("keys.json", b" " * (2 << 20), {}), LEDGER],
    "no keys": [("keys.json", b"{}", {}), LEDGER],
    "an empty ledger": [KEYS, ("ledger.sqlite3", b"", {})],
    "no database": [KEYS, ("ledger.sqlite3", b"no database" * 1_000, {})],
    "an extended header": [("keys.json", "keys.json", {"pax_headers": {"comment": "x" * 9_000}}), LEDGER],
}


@pytest.mark.promise("upgrade.schema")
@pytest.mark.parametrize("members", BAD.values(), ids=BAD)
async def test_what_is_no_backup_is_refused_and_leaves_nothing(parts, tmp_path, members):
    good = {name: content for name, content, _ in parts}
    made = [(name, good.get(content, content), changes) for name, content, changes in members]
    file = tar(tmp_path / "bad.tar", *made, form=tarfile.PAX_FORMAT)
    await refusal(restore(file, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


async def test_a_damaged_ledger_is_refused(parts, tmp_path):
    keys, (name, content, _) = parts
    cut = tar(tmp_path / "bad.tar", keys, (name, content[: len(content) // 2], {}))
    assert "damaged" in (await refusal(restore(cut, tmp_path / "new"))).what


@pytest.mark.parametrize("how", ["cut", "longer", "text", "empty", "sparse size", "endless", "nested"])
async def test_a_file_that_is_no_whole_archive_is_refused(saved, tmp_path, how):
    content = saved["file"].read_bytes()
    header = tarfile.TarInfo("keys.json")
    header.size = 1 << 40
    bad = {
        "cut": content[: len(content) // 2],
        "longer": content + b"\0",
        "text": b"hello" * 1000,
        "empty": b"",
        "sparse size": header.tobuf(tarfile.GNU_FORMAT) + content[512:],
        "endless": sized(0) + sized(-512) + content[512:],
        "nested": sized(0, type=tarfile.GNUTYPE_LONGNAME) * 2_000 + content,
    }
    (tmp_path / "bad.tar").write_bytes(bad[how])
    await refusal(restore(tmp_path / "bad.tar", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


async def test_keys_of_another_ledger_are_not_mixed_with_it(saved, tmp_path, parts, place):
    other = tmp_path / "other"
    await (await Ledger.open_in(other)).aclose()
    keys = (other / "keys.json").read_bytes()
    mixed = tar(tmp_path / "mixed.tar", ("keys.json", keys, {}), parts[1])
    assert "belong together" in (await refusal(restore(mixed, tmp_path / "new"))).what
    (other / "ledger.sqlite3").unlink()
    assert "keys of another ledger" in (await refusal(restore(saved["file"], other))).what
    assert (other / "keys.json").read_bytes() == keys
    assert not (other / "ledger.sqlite3").exists()
    half = tmp_path / "half"  # a restore that was killed after the keys
    half.mkdir()
    (half / "keys.json").write_bytes((place / "keys.json").read_bytes())
    assert await restore(saved["file"], half) == saved["snapshot"]


@pytest.mark.promise("ledger.newer")
async def test_a_backup_of_a_newer_version_is_refused(saved, parts, tmp_path):
    assert saved
    newer = tmp_path / "newer.sqlite3"
    newer.write_bytes(parts[1][1])
    connection = sqlite3.connect(newer)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    file = tar(tmp_path / "newer.tar", parts[0], ("ledger.sqlite3", newer.read_bytes(), {}))
    await refusal(restore(file, tmp_path / "new"), "ledger-newer")
    assert not (tmp_path / "new").exists()


async def test_members_are_read_back_as_written_up_to_their_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1_000)
    (tmp_path / "b").write_bytes(b"")
    module._pack(tmp_path / "whole.tar", {"a": tmp_path / "a", "b": tmp_path / "b"})
    (tmp_path / "out").mkdir()
    module._unpack(tmp_path / "whole.tar", tmp_path / "out", {"a": 1_000, "b": 0})
    assert (tmp_path / "out" / "a").read_bytes() == b"x" * 1_000
    with pytest.raises(InfraError):
        module._unpack(tmp_path / "whole.tar", tmp_path / "out", {"a": 999, "b": 0})
