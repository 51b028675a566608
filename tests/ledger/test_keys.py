"""Keys are made once, kept beside the ledger, and never made anew."""

import json
import threading

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.keys import Keys


def test_a_key_is_random_kept_and_the_same_ever_after(tmp_path):
    key = Keys(tmp_path).key("masking")
    assert len(key) == 32
    assert Keys(tmp_path).key("masking") == key
    assert Keys(tmp_path).key("secrets") != key
    assert Keys(tmp_path / "other").key("masking") != key


def test_the_file_is_for_its_owner_only(tmp_path):
    Keys(tmp_path / "state").key("masking")
    assert (tmp_path / "state" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {file.name for file in (tmp_path / "state").iterdir()} == {"keys.json", "keys.lock"}


def test_many_at_once_get_one_key(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Keys(tmp_path).key("masking"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"masking": 7}', b'{"masking": "%%%"}', b"\xff"])
def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path, content):
    (tmp_path / "keys.json").write_bytes(content)
    with pytest.raises(InfraError) as caught:
        Keys(tmp_path).key("masking")
    assert caught.value.code == "ledger-unavailable"
    assert (tmp_path / "keys.json").read_bytes() == content


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(InfraError) as caught:
        Keys(tmp_path).key("masking")
    assert caught.value.code == "ledger-unavailable"
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InfraError) as caught:
        Keys(tmp_path / "file").key("masking")
    assert caught.value.code == "ledger-unavailable"


def test_keys_of_a_ledger_in_memory_stay_there():
    keys = Keys(None)
    assert keys.key("masking") == keys.key("masking")


def test_another_key_leaves_the_first_as_it_is(tmp_path):
    first = Keys(tmp_path).key("masking")
    Keys(tmp_path).put("masking", b"another")
    Keys(tmp_path).key("secrets")
    assert Keys(tmp_path).key("masking") == first
    assert set(json.loads((tmp_path / "keys.json").read_bytes())) == {"masking", "secrets"}


@pytest.mark.anyio
@pytest.mark.fault("w03")
@pytest.mark.parametrize("lost", ["file", "entry"])
async def test_a_ledger_whose_keys_are_lost_is_not_opened_with_new_ones(tmp_path, lost):
    ledger = await Ledger.open_in(tmp_path)
    await ledger.add_peer("docs", "docs")
    await ledger.aclose()
    kept = (tmp_path / "keys.json").read_bytes()
    if lost == "file":
        (tmp_path / "keys.json").unlink()
    else:
        held = json.loads(kept)
        del held["ledger"], held["masking"]
        (tmp_path / "keys.json").write_text(json.dumps(held), encoding="utf-8")
    before = {file.name for file in tmp_path.iterdir()}

    for _ in range(2):  # nothing is made at the first try that would satisfy the second
        with pytest.raises(InfraError) as caught:
            await (await Ledger.open_in(tmp_path)).aclose()
        assert caught.value.code == "ledger-unavailable"
        assert "keys.json" in f"{caught.value.what} {caught.value.next_step}"
        assert "keys.json" in before or not (tmp_path / "keys.json").exists()

    (tmp_path / "keys.json").write_bytes(kept)
    ledger = await Ledger.open_in(tmp_path)
    assert (await ledger.verify([])).consistent
    await ledger.aclose()


@pytest.mark.anyio
@pytest.mark.fault("w03")
async def test_a_first_start_that_was_killed_before_its_keys_were_written_is_begun_again(tmp_path):
    await (await Ledger.open_in(tmp_path)).aclose()
    held = json.loads((tmp_path / "keys.json").read_text("utf-8"))
    del held["ledger"]  # written last
    (tmp_path / "keys.json").write_text(json.dumps(held), encoding="utf-8")

    ledger = await Ledger.open_in(tmp_path)
    await ledger.add_peer("docs", "docs")
    await ledger.aclose()

    assert "ledger" in json.loads((tmp_path / "keys.json").read_text("utf-8"))
