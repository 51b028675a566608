"""infra.toml lies where others may push to: whatever stands in its place is read in one way, or refused at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from limited import run_limited

from infra_mcp.cli.main import main
from infra_mcp.policy.policy import digest_of

pytestmark = [pytest.mark.process, pytest.mark.bad_input("2")]

GOOD = "[clusters.a]\ncontext = 'a'\n"
PRIVATE = "a-line-of-someones-own"
RUN = "import sys; from infra_mcp.cli.main import main; sys.exit(main(sys.argv[1:]))"
READERS = {
    "show": ["policy", "show"],
    "diff": ["policy", "diff"],
    "accept": ["policy", "accept", "--digest", digest_of(PRIVATE)],
    "render": ["rbac", "render"],
}


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A repository in which a policy was accepted once."""
    top = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", top], check=True)
    (top / "infra.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("INFRA_MCP_TOKEN", raising=False)
    monkeypatch.chdir(top)
    assert main(["policy", "accept", "--yes"]) == 0
    (top / "infra.toml").unlink()
    return top


def _device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _private(file: Path) -> None:
    (file.parent.parent / "private").write_text(PRIVATE, encoding="utf-8")
    file.symlink_to("../private")


def _fifo(file: Path) -> None:
    os.mkfifo(file)


def _fifo_behind_a_link(file: Path) -> None:
    os.mkfifo(file.parent / "pipe")
    file.symlink_to("pipe")


def _large(file: Path) -> None:
    with file.open("wb") as made:
        made.truncate(3 << 30)


def _folder(file: Path) -> None:
    file.mkdir()


def _circle(file: Path) -> None:
    file.symlink_to("infra.toml")


@pytest.mark.fault("f32")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("made", [_device, _private, _fifo, _fifo_behind_a_link, _large, _folder, _circle])
def test_whoever_reads_infra_toml_takes_a_regular_file_of_bounded_size_and_follows_no_link(repo, made, reader):
    made(repo / "infra.toml")

    done = run_limited(RUN, *READERS[reader], at=repo)

    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert PRIVATE not in said
    assert "infra.toml" in said
    assert reader == "show" or done.returncode == 2, said


@pytest.mark.fault("f31")
def test_a_policy_of_as_many_lines_as_fit_is_compared_in_linear_time(repo):
    (repo / "infra.toml").write_text("# a\n# b\n# c\n" * 80_000, encoding="utf-8")

    done = run_limited(RUN, "policy", "diff", at=repo)

    assert done.returncode == 0, done.stderr
    assert "+# a" in done.stdout
