"""What users get: sdist and wheel hold the whole package and its licence. `make wheel` tells the demo with them."""

import hashlib
import zipfile

import pytest
from packaged import ROOT, build, lacking

APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of the text of version 2.0, as published


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


def test_sdist_and_wheel_hold_every_file_of_the_package_and_the_licence(made):
    assert lacking(*made) == []


def test_the_licence_is_the_published_text():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ("infra_mcp/binaries/gomod/sandbox/go.sum", "the wheel lacks infra_mcp/binaries/gomod/sandbox/go.sum"),
        ("infra_mcp/sandbox/stages/pod.yaml", "the wheel lacks infra_mcp/sandbox/stages/pod.yaml"),
        ("infra_mcp/py.typed", "the wheel lacks infra_mcp/py.typed"),
        ("LICENSE", "the wheel lacks its licence"),
    ],
)
def test_what_the_wheel_lacks_or_holds_besides_is_named(made, tmp_path, gone, line):
    sdist, wheel = made
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as other:
        for name in whole.namelist():
            if not name.endswith(gone):
                other.writestr(name, whole.read(name))
        other.writestr("infra_mcp/deleted_long_ago.py", "")

    assert sorted(lacking(sdist, tmp_path / wheel.name)) == ["the wheel holds infra_mcp/deleted_long_ago.py", line]
