"""Each change of the matrix, previewed in process, gives a careful person's bytes or their refusal."""

import difflib
import json
import os
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from shapes import cells

from infra_mcp.cli.main import main
from infra_mcp.policy.policy import load

HERE = Path(__file__).resolve().parent
CASES = cells.load()
SHAPES = sorted({case.shape for case in CASES})


def _named(cases):
    return [pytest.param(case, id=str(case)) for case in cases]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A function that makes a shape's repository, once, with one commit of exactly the fixture's bytes."""
    made = {}

    def make(shape):
        if shape not in made:
            at = made[shape] = tmp_path_factory.mktemp(shape) / "infra"
            for path, data in cells.files(HERE / shape / "repo").items():
                (at / path).parent.mkdir(parents=True, exist_ok=True)
                (at / path).write_bytes(data)
            _git(at, "init", "-q", "-b", "main")
            _git(at, "add", "--all", "--force")
            _git(at, "commit", "-q", "-m", "As it is")
        return made[shape]

    return make


def _git(at, *arguments):
    settings = ["-c", "core.autocrlf=false", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    return subprocess.run(
        ["git", "-C", str(at), *settings, *arguments], env=clean, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def preview(checkout, capsys, tmp_path, monkeypatch):
    """A function that previews a case: the exit code and the JSON that it prints. The repository stays as it is."""
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    for name in ("INFRA_MCP_TOKEN", "INFRA_MCP_URL", "KUBECONFIG", "INFRA_MCP_KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(case):
        repo = checkout(case.shape)
        capsys.readouterr()
        try:
            code = main(["preview", *case.run, "--repo", str(repo), "--json"])
        except SystemExit as exit_:
            pytest.fail(f"the command line is not understood ({exit_.code}): {capsys.readouterr().err}")
        out = capsys.readouterr().out
        assert _git(repo, "status", "--porcelain") == "", "a preview writes nothing"
        return code, json.loads(out)

    return run


@pytest.mark.promise("plan.pure", "repos.instances", "repos.digest", "repos.locator")
@pytest.mark.parametrize("case", _named(case for case in CASES if not case.refused and not case.unchanged))
def test_the_files_change_as_a_careful_person_would_change_them(case, preview):
    code, answer = preview(case)

    assert code == 0, answer
    assert {one["path"] for one in answer["files"]} == set(case.after)
    for one in answer["files"]:
        wanted = case.after[one["path"]]
        assert one["diff"]
        assert one["content"].encode() == wanted, _difference(wanted, one["content"].encode())
    assert answer["changed"] is True
    if case.environment:
        assert case.environment in answer["instance"]["environment"].split("/")
    beside = json.dumps({key: value for key, value in answer.items() if key != "files"}, ensure_ascii=False)
    assert [word for word in case.says if word not in beside] == [], beside
    assert [one for one in case.reaches if not _reached(one, answer["reach"])] == [], answer["reach"]
    assert [one for one in answer["reach"] if any(_below(one["root"], path) for path in case.spares)] == []


def _difference(wanted, got):
    lines = (data.decode().splitlines(keepends=True) for data in (wanted, got))
    return "".join(difflib.unified_diff(*lines, "wanted", "got"))


def _reached(wanted, reach):
    """Whether a delivery makes a root live, a folder above it, or a file of it."""
    delivery, root = wanted.split(" ", 1)
    roots = [one["root"] for one in reach if one["delivery"] == delivery]
    return any(_below(root, one) or _below(one, root) for one in roots)


def _below(path, folder):
    return folder == "." or f"{path}/".startswith(f"{folder}/")


@pytest.mark.parametrize("case", _named(case for case in CASES if case.unchanged))
def test_what_is_there_already_changes_nothing(case, preview):
    code, answer = preview(case)

    assert (code, answer.get("changed"), answer.get("files")) == (0, False, []), answer


@pytest.mark.promise("automation.named", "repos.instances", "repos.digest", "repos.locator")
@pytest.mark.parametrize("case", _named(case for case in CASES if case.refused))
def test_what_a_careful_person_would_not_do_is_refused_and_says_why(case, preview):
    code, answer = preview(case)

    error = answer.get("error", answer)
    assert error.get("code") in case.refused, answer
    assert code in {2, 5}
    text = " ".join(str(error.get(key, "")) for key in ("message", "what", "next_step", "next"))
    assert [word for word in case.says if word not in text] == [], text
    assert not answer.get("files")


@pytest.mark.trap("K10")
def test_one_base_under_three_overlays_is_no_answer_to_which_is_meant(preview):
    by_id = {case.id: case for case in CASES if case.shape == "one-base"}
    for name in ("which-docs-is-meant", "an-overlay-that-takes-the-bases"):
        code, answer = preview(by_id[name])
        text = json.dumps(answer)
        assert (code, answer["code"]) in {(5, "environment-needed"), (2, "shared-place")}, answer
        assert [word for word in by_id[name].says if word not in text] == []


def test_the_matrix_has_the_shapes_and_changes_that_people_make():
    kinds = Counter("refused" if case.refused else "unchanged" if case.unchanged else "exact" for case in CASES)
    environments = {shape: set() for shape in SHAPES}
    for case in CASES:
        if case.environment and not case.refused:
            environments[case.shape].add(case.environment)

    heads = [tomllib.loads((HERE / shape / "cases.toml").read_text(encoding="utf-8")) for shape in SHAPES]

    assert sum(len(head.get("clusters", ())) >= 2 for head in heads) >= 2
    assert len(SHAPES) >= 16
    assert len(CASES) >= 100
    assert kinds["exact"] >= 70
    assert sum(len(names) >= 2 for names in environments.values()) >= 5
    assert {case.change for case in CASES} == set(cells.CHANGES)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_whole(shape):
    before, cases = cells.files(HERE / shape / "repo"), [case for case in CASES if case.shape == shape]
    exact = [case for case in cases if case.after]

    assert 5 <= len(before) <= 25
    assert len({case.id for case in cases}) == len(cases)
    folders = {path.name for path in (HERE / shape / "after").iterdir()}
    assert folders == {case.id for case in exact}
    for case in cases:
        assert sum([bool(case.after), bool(case.refused), case.unchanged]) == 1, case
        assert not case.refused or (case.says and case.why), case
    for case in exact:
        for path, after in case.after.items():
            assert _lines_changed(before[path], after) <= 2, f"{case}: {path}"
            if path.endswith((".yaml", ".json")) and b"{{" not in after:
                assert list(yaml.safe_load_all(after)) != list(yaml.safe_load_all(before[path])), case


def test_each_infra_toml_is_a_policy():
    policies = [load(file.read_text(encoding="utf-8")) for file in sorted(HERE.glob("*/repo/infra.toml"))]
    assert sum(bool(app.settings) for policy in policies for app in policy.apps.values()) >= 5


def _lines_changed(before, after):
    opcodes = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False).get_opcodes()
    return sum(end - start for tag, start, end, *_ in opcodes if tag != "equal")


def test_the_matrix_is_printed(capsys):
    assert cells.main() == 0
    out = capsys.readouterr().out
    assert all(shape in out for shape in SHAPES)
    assert f"{len(CASES)} cells" in out


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES if case.builds])
def test_kustomize_gives_what_was_asked_for_and_no_other_build_moves(case, binaries, tmp_path):
    before = cells.files(HERE / case.shape / "repo")
    builds = []
    for name, content in (("before", before), ("after", before | case.after)):
        for path, data in content.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(data)
        builds.append({root: _build(binaries / "kubectl", tmp_path / name / root) for root in _roots(content)})

    assert {root for root in builds[0] if builds[0][root] != builds[1][root]} == set(case.builds)
    for root, text in case.builds.items():
        assert text in builds[1][root]


def _roots(content):
    """Folders that kustomize can build from this repository alone."""
    for path, data in content.items():
        folder, _, name = path.rpartition("/")
        own = b"://" not in data and b"kind: Component" not in data
        if name in {"kustomization.yaml", "kustomization.yml"} and own:
            yield folder or "."


def _build(kubectl, folder):
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.promise("value.inert")
@pytest.mark.parametrize(
    "value", ["${TOKEN}", "$(id)", "{{ .Release.Name }}", "<path:secret/data/x#y>", "ref+vault://a#b", "a\nb"]
)
@pytest.mark.parametrize(("shape", "run"), [
    ("argo-applications", ["configure", "forum", "--set", "greeting={}"]),
    ("argo-applications", ["deploy", "forum", "{}"]),
    ("flux-home", ["configure", "pantry", "--set", "greeting={}"]),
    ("flux-home", ["deploy", "pantry", "{}"]),
])  # fmt: skip
def test_a_value_that_a_deliverer_would_interpret_is_refused_and_not_repeated(preview, shape, run, value):
    words = tuple(word.format(value) for word in run)
    code, answer = preview(cells.Case(shape, "inert", "value", words))

    if "files" in answer:  # Flux has an escape for ${, which is used
        assert (value, shape) == ("${TOKEN}", "flux-home"), answer
        assert "$${TOKEN}" in answer["files"][0]["content"]
    else:
        assert (code, answer["code"]) == (2, "invalid-argument"), answer
        assert value not in json.dumps(answer)
