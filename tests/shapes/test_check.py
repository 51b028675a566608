"""The changes of the matrix as pull requests of people: a check names each setting with its place, and its reach."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import pytest
from pull_requests import PullRequest
from shapes import cells

from infra_mcp.engine.check import check
from infra_mcp.repository.builds import Builds

HERE = Path(__file__).resolve().parent
CASES = [case for case in cells.load() if case.after and not case.refused]
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def _of_delivery(wanted, reach):
    """Whether a delivery makes a root live, a folder above it, or a file of it."""
    delivery, root = wanted.split(" ", 1)
    return any(_below(root, one["root"]) or _below(one["root"], root) for one in reach if one["delivery"] == delivery)


def _below(path, folder):
    return folder == "." or f"{path}/".startswith(f"{folder}/")


@pytest.mark.promise("ci.headless")
@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES])
def test_what_a_change_of_the_matrix_does_is_told_of_its_pull_request(case, tmp_path, kubectl):
    base = cells.files(HERE / case.shape / "repo")
    made = PullRequest(tmp_path / "infra", base, case.after)
    builds = Builds(renderer=kubectl)

    found = anyio.run(partial(check, made.repo, "main..head", circle=None, now=NOW, seconds=120, builds=builds))

    assert [one["path"] for one in found["files"]] == sorted(case.after)
    assert "build-failed" not in {one["rule"] for one in found["findings"]}, found["findings"]
    assert found["settings"] or found["values"], "what changes is named with its place"
    if case.run[0] == "deploy":
        version, _, digest = case.run[2].partition("@")
        told = json.dumps([found["settings"], found["values"]])
        assert version.removeprefix("v") in told or (digest and digest in told), told  # by its digest alone
    assert [one for one in case.reaches if not _of_delivery(one, found["reach"])] == [], found["reach"]
    told = [one["root"] for one in found["reach"] if one["targets"]]
    assert [root for root in told if any(_below(root, path) for path in case.spares)] == []
    assert not {one["rule"] for one in found["findings"]} & {"files.unread", "manifest-invalid"}, found["findings"]
