"""Charts are unpacked as plain files of one folder, bounded, or not at all."""

import tarfile

import pytest
from clients.helm.parts import archive_of, chart_yaml, packed

from infra_mcp.clients.helm import archive
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.promise("helm.safe-args"), pytest.mark.bad_input("14")]


def _member(name, kind, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_a_chart_is_its_files_by_their_paths_in_its_folder():
    files = archive.unpack(packed(files={"templates/a.yaml": "a: 1", "README.md": "x"}), "chart docs")
    assert sorted(files) == ["Chart.yaml", "README.md", "templates/a.yaml"]
    assert archive.metadata(files, "chart docs")["version"] == "1.2.3"


@pytest.mark.parametrize(
    "member",
    [
        _member("docs/link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("docs/link", tarfile.SYMTYPE, "templates"),
        _member("docs/hard", tarfile.LNKTYPE, "docs/Chart.yaml"),
        _member("docs/device", tarfile.CHRTYPE),
        _member("docs/pipe", tarfile.FIFOTYPE),
        ("/etc/cron.d/docs", "x"),
        ("docs/../../escape", "x"),
        ("docs/templates/./x", "x"),
        ("docs\\..\\escape", "x"),
        ("C:/docs/x", "x"),
        ("../docs/x", "x"),
        ("docs//x", "x"),
        ("lonely", "x"),
    ],
)
def test_an_archive_that_holds_a_link_a_device_or_a_path_that_leads_out_is_refused_whole(member):
    data = archive_of(("docs/Chart.yaml", chart_yaml()), member)
    with pytest.raises(InfraError, match=r"is a link or a device|is no path in it") as caught:
        archive.unpack(data, "chart docs")
    assert caught.value.code == "chart-unavailable"


def test_an_archive_is_bounded_by_what_it_says_and_by_the_number_of_its_files(monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1024)
    with pytest.raises(InfraError, match="larger than"):
        archive.unpack(packed(files={"templates/a.yaml": "a" * 2048}), "chart docs")
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(InfraError, match="more than 3 files"):
        archive.unpack(packed(files={f"templates/{n}.yaml": "" for n in range(9)}), "chart docs")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x1f\x8b\x08\x00broken", packed()[:60]])
def test_what_is_no_archive_is_said_to_be_none(data):
    with pytest.raises(InfraError, match="is no archive of a chart"):
        archive.unpack(data, "chart docs")


def test_an_archive_without_a_chart_is_refused():
    with pytest.raises(InfraError, match=r"has no Chart\.yaml"):
        archive.unpack(archive_of(("docs/values.yaml", "a: 1")), "chart docs")
    with pytest.raises(InfraError, match=r"no readable Chart\.yaml"):
        archive.metadata({"Chart.yaml": b"- a list"}, "chart docs")


def test_charts_in_charts_are_unpacked_beside_it_and_only_so_deep():
    inner = packed("leaf", "0.1.0")
    files = archive.unpack(packed(files={"charts/leaf-0.1.0.tgz": inner}), "chart docs")
    assert sorted(archive.expanded(files, "chart docs")) == [
        "Chart.yaml",
        "charts/leaf-0.1.0/Chart.yaml",
        "charts/leaf-0.1.0/templates/config.yaml",
    ]
    data = inner
    for _ in range(archive.MAX_DEPTH + 1):
        data = packed(files={"charts/deep-1.0.0.tgz": data})
    with pytest.raises(InfraError, match="deep"):
        archive.expanded(archive.unpack(data, "chart docs"), "chart docs")


def test_charts_in_charts_together_are_bounded(monkeypatch):
    files = {"Chart.yaml": b"", **{f"charts/leaf{n}-1.0.0.tgz": packed(files={"x": "x" * 600}) for n in range(9)}}
    monkeypatch.setattr(archive, "MAX_UNPACKED", 4096)
    with pytest.raises(InfraError, match="larger than"):
        archive.expanded(files, "chart docs")


@pytest.mark.parametrize("path", ["../escape", "/etc/docs", "a//b", "a/../b", ""])
def test_no_file_of_a_chart_is_written_outside_its_folder(tmp_path, path):
    with pytest.raises(InfraError):
        archive.write({path: b"x"}, tmp_path / "chart")
    assert [one.name for one in tmp_path.rglob("*")] in ([], ["chart"])


def test_the_digest_of_a_folder_of_files_tells_paths_and_contents():
    one = archive.digest_of({"a": b"1", "b": b"2"})
    assert one == archive.digest_of({"b": b"2", "a": b"1"})
    assert one != archive.digest_of({"a": b"12", "b": b""})
    assert one != archive.digest_of({"a": b"1", "c": b"2"})


def test_definitions_are_found_in_the_folders_crds_of_the_chart_and_its_subcharts():
    files = {
        "crds/one.yaml": b"",
        "charts/leaf/crds/two.yaml": b"",
        "templates/crds/three.yaml": b"",
        "files/crds/four.yaml": b"",
    }
    assert sorted(archive.crds(files)) == ["charts/leaf/crds/two.yaml", "crds/one.yaml"]
