import pytest

from infra_mcp.errors import InfraError
from infra_mcp.sandbox.places import Note, Place


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_SANDBOX", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "-a", "a-", "a b", "a\n", "x" * 41, "test_1"])
def test_a_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(InfraError) as caught:
        Place(name)
    assert caught.value.code == "invalid-argument"


@pytest.mark.parametrize("name", ["infra", "a", "test-123", "x" * 40])
def test_each_name_has_a_folder_of_its_own(name, home):
    place = Place(name)
    assert place.folder == home / name
    assert place.context == f"kwok-{name}"


def test_a_note_is_read_as_it_was_written():
    place = Place("infra")
    place.folder.mkdir(parents=True)
    assert place.read() is None
    place.write(Note("ready", "/bin", 6443))
    assert place.read() == Note("ready", "/bin", 6443)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "ready"}', '{"state": 1, "other": 2}'])
def test_a_note_that_cannot_be_read_counts_as_none(text):
    place = Place("infra")
    place.folder.mkdir(parents=True)
    (place.folder / "sandbox.json").write_text(text)
    assert place.read() is None


def test_every_place_is_found_by_name(home):
    assert Place.all() == []
    for name in ("b", "a"):
        (home / name).mkdir(parents=True)
    (home / ".a.lock").touch()
    assert [place.name for place in Place.all()] == ["a", "b"]
