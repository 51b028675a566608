"""An edit changes the value meant and nothing else, in whatever style the file is written."""

from __future__ import annotations

import copy
import json

import pytest
from repository.edits import changed_lines, loaded, remove_field, set_field

from infra_mcp.errors import InfraError
from infra_mcp.repository.edit import resolve

DEPLOYMENT = """\
# the web site
apiVersion: apps/v1   # the version
kind: Deployment
metadata:
  name: web
  namespace: docs-live
  annotations: {}
  labels: {app: web, tier: 'front'}
spec:
  replicas: 2 # two are enough
  template:
    spec:
      # what runs
      containers:
      - name: web
        image: "registry.example/docs/site:1.0"  # deployed by hand
        args: [serve, '--port=80']
        env:
        - {name: A, value: "1"}

      - name: side
        image: side:1.0
        command: # none
        script: |
          set -e
          run

          exit 0
      imagePullSecrets:
      - name: a
# the end
"""


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (
            "spec.template.spec.containers.0.image",
            "registry.example/docs/site:2.0",
            [
                '-        image: "registry.example/docs/site:1.0"  # deployed by hand',
                '+        image: "registry.example/docs/site:2.0"  # deployed by hand',
            ],
        ),
        ("spec.replicas", 3, ["-  replicas: 2 # two are enough", "+  replicas: 3 # two are enough"]),
        (
            "spec.template.spec.containers.1.image",
            "side:1.10",
            ["-        image: side:1.0", "+        image: side:1.10"],
        ),
        ("spec.template.spec.containers.1.image", "1.10", ["-        image: side:1.0", '+        image: "1.10"']),
        ("metadata.namespace", "no", ["-  namespace: docs-live", '+  namespace: "no"']),
        (
            "metadata.labels.tier",
            "it's",
            ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web, tier: 'it''s'}"],
        ),
        (
            "metadata.labels.tier",
            "two\nlines",
            ["-  labels: {app: web, tier: 'front'}", '+  labels: {app: web, tier: "two\\nlines"}'],
        ),
        (
            "metadata.labels.added",
            "a, b",
            ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web, tier: 'front', added: \"a, b\"}"],
        ),
        ("metadata.annotations.x/y", "X", ["-  annotations: {}", "+  annotations: {x/y: X}"]),
        (
            "spec.template.spec.containers.0.args.2",
            "-v",
            ["-        args: [serve, '--port=80']", "+        args: [serve, '--port=80', \"-v\"]"],
        ),
        ("spec.template.spec.imagePullSecrets.1", {"name": "b"}, ["+      - name: b"]),
        ("spec.template.spec.imagePullSecrets", [{"name": "a"}, {"name": "b"}], ["+      - name: b"]),
        (
            "spec.template.metadata.annotations.when",
            "2026-01-01",
            ["+    metadata:", "+      annotations:", '+        when: "2026-01-01"'],
        ),
        (
            "spec.template.spec.containers.1.command",
            ["a", "b"],
            ["+        - a", "+        - b"],
        ),
        (
            "spec.template.spec.containers.1.command",
            "run",
            ["-        command: # none", "+        command: run # none"],
        ),
        (
            "spec.template.spec.containers.1.script",
            "set -e\nstart\n\nexit 0\n",
            ["-          run", "+          start"],
        ),
        (
            "spec.template.spec.containers.1.script",
            "set -e\nrun\n\nexit 0",
            ["-        script: |", "+        script: |-"],
        ),
    ],
)
def test_one_value_is_one_hunk_with_quotes_and_comments_kept(newline, path, value, lines):
    before = DEPLOYMENT.replace("\n", newline).encode()
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]

    after = set_field(before, 0, steps, value)

    assert after.count(b"\n") - after.count(b"\r\n") == (0 if newline == "\r\n" else after.count(b"\n"))
    assert [row.rstrip("\r") for row in changed_lines(before, after)] == lines
    here = loaded(after)[0]
    for step in steps:
        here = here[step]
    assert here == value


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("spec.replicas", ["-  replicas: 2 # two are enough"]),
        ("metadata.labels.app", ["-  labels: {app: web, tier: 'front'}", "+  labels: {tier: 'front'}"]),
        ("metadata.labels.tier", ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web}"]),
        ("metadata.labels", ["-  labels: {app: web, tier: 'front'}"]),
        ("spec.template.spec.imagePullSecrets", ["-      imagePullSecrets:", "-      - name: a"]),
        ("spec.template.spec.imagePullSecrets.0", None),
        (
            "spec.template.spec.containers.1.name",
            ["-      - name: side", "-        image: side:1.0", "+      - image: side:1.0"],
        ),
        ("metadata.nothing", []),
    ],
)
def test_a_field_is_taken_out_with_its_lines(path, lines):
    before = DEPLOYMENT.encode()
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]

    after = remove_field(before, 0, steps)

    if lines is not None:
        assert changed_lines(before, after) == lines
    expected = copy.deepcopy(loaded(before))
    here = expected[0]
    for step in steps[:-1]:
        here = here[step]
    if isinstance(here, list) or steps[-1] in here:
        del here[steps[-1]]
    assert loaded(after) == expected


def test_taking_out_what_was_put_in_gives_the_same_bytes():
    before = DEPLOYMENT.replace("  annotations: {}\n", "").encode()

    for path, value in {
        ("metadata", "annotations", "a/b"): "X",
        ("spec", "paused"): True,
        ("spec", "template", "spec", "imagePullSecrets", 1): {"name": "b"},
        ("spec", "template", "spec", "containers", 0, "args", 2): "x",
    }.items():
        after = set_field(before, 0, path, value)
        assert after != before
        assert remove_field(after, 0, path) == before


def test_only_the_document_that_is_meant_changes():
    text = b"---\n# one\na: 1\n---\n---\n# three\na: 1\n...\n---\na: 1"

    assert set_field(text, 2, ["a"], 2) == b"---\n# one\na: 1\n---\n---\n# three\na: 2\n...\n---\na: 1"
    assert set_field(text, 3, ["b"], 2) == text + b"\nb: 2"
    with pytest.raises(InfraError, match="There is no document 5"):
        set_field(text, 4, ["a"], 2)
    with pytest.raises(InfraError):
        set_field(text, 1, ["a"], 2)


def test_a_block_of_text_keeps_its_header_and_indentation():
    text = b"a: |- # why\n    one\n    two\n\nb: 1\n"

    assert set_field(text, 0, ["a"], "three") == b"a: |- # why\n    three\n\nb: 1\n"
    assert set_field(text, 0, ["a"], "x\n\n y\n") == b"a: | # why\n    x\n\n     y\n\nb: 1\n"
    assert set_field(text, 0, ["a"], " x") == b'a: " x" # why\n\nb: 1\n'
    assert set_field(text, 0, ["a"], 5) == b"a: 5 # why\n\nb: 1\n"


def test_json_stays_json():
    pretty = b'{\n  "a": {\n    "image": "x:1",\n    "list": []\n  },\n  "b": [\n    1\n  ]\n}\n'

    for path, value in [
        (["a", "image"], "x:2"),
        (["a", "new"], "y"),
        (["b", 1], {"c": "\t\u2028"}),
        (["a", "list", 0], "z"),
    ]:
        after = set_field(pretty, 0, path, value)
        here = json.loads(after)
        for step in path:
            here = here[step]
        assert here == value
    assert set_field(pretty, 0, ["a", "new"], "y") == pretty.replace(b'"list": []', b'"list": [],\n    "new": "y"')


def test_a_mapping_of_other_keys_is_written_anew():
    text = b"a:\n  b: 1\n  c: 2\n# after\nd: 1\n"

    assert set_field(text, 0, ["a"], {"x": {"w": 1}}) == b"a:\n  x:\n    w: 1\n# after\nd: 1\n"
    assert set_field(text, 0, ["a"], ["x", "z"]) == b"a:\n  - x\n  - z\n# after\nd: 1\n"
    assert set_field(text, 0, ["a"], 5) == b"a: 5\n# after\nd: 1\n"
    assert set_field(b"k:\n- a: 1\n  b: 2\n- c\n", 0, ["k", 0], {"x": [1], "z": 2}) == b"k:\n- x:\n  - 1\n  z: 2\n- c\n"
    assert set_field(b"k:\n- a: 1\n  b: 2\n- c\n", 0, ["k", 0], "x") == b"k:\n- x\n- c\n"


def test_only_what_differs_inside_a_collection_is_touched():
    text = (
        b"spec:\n  # ports\n  ports:\n  - name: http # web\n    port: 80\n"
        b"  - name: https\n    port: 443 # tls\n  sel: {a: b} # c\n"
    )
    value = {"ports": [{"name": "http", "port": 8080}, {"name": "https", "port": 443}], "sel": {"a": "c"}}

    after = set_field(text, 0, ["spec"], value)

    assert changed_lines(text, after) == [
        "-    port: 80",
        "+    port: 8080",
        "-  sel: {a: b} # c",
        "+  sel: {a: c} # c",
    ]


def test_keyed_steps_find_the_items_they_mean():
    obj = {
        "spec": {
            "containers": [
                {"name": "a"},
                {"name": "web", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]},
            ],
            "finalizers": ["x", "y"],
        }
    }

    assert resolve(obj, ("spec", "containers", {"name": "web"}, "image")) == ["spec", "containers", 1, "image"]
    port = {"containerPort": 80, "protocol": "TCP"}
    assert resolve(obj, ("spec", "containers", {"name": "web"}, "ports", port)) == ["spec", "containers", 1, "ports", 0]
    assert resolve(obj, ("spec", "finalizers", {"=": "y"})) == ["spec", "finalizers", 1]
    assert resolve(obj, ("metadata", "labels", "a.b/c")) == ["metadata", "labels", "a.b/c"]
    for field in [
        ("spec", "containers", {"name": "none"}, "image"),
        ("spec", "containers", {}, "image"),
        ("spec", "containers", "web"),
        ("spec", {"name": "web"}),
    ]:
        with pytest.raises(InfraError) as caught:
            resolve(obj, field)
        assert caught.value.code == "manifest-invalid"
