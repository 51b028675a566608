"""What a name in JSON calls a secret is hidden; all else keeps its value and its shape."""

import json

import pytest
from fake_secrets import HARMLESS, KEY, MASKER
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.model.digest import canonical, keyed

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=12), st.sampled_from(HARMLESS)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


def shape(value):
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@given(JSON)
def test_json_keeps_its_shape(value):
    masked = MASKER.mask_json(value)
    assert MASKER.mask_json(masked) == masked
    if b"[masked" not in canonical_or_empty(masked):
        assert masked == value
        assert shape(masked) == shape(value)


def canonical_or_empty(value):
    try:
        return canonical(value)
    except UnicodeEncodeError:
        return b"[masked"


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"outer": [{"db_password": "hunter2"}]},
        {"API_TOKEN": "hunter2"},
        {"auth": "hunter2"},
        {".dockerconfigjson": "hunter2"},
        {"name": "DB_PASSWORD", "value": "hunter2"},
        {"value": "hunter2", "name": "DB_PASSWORD"},
        {"kind": "Secret", "data": {"innocent": "hunter2"}},
        {"kind": "Secret", "stringData": {"innocent": {"deep": ["hunter2"]}}},
        {"path": ["stringData", "password"], "before": "hunter2", "after": "x"},
        {"field": ["env", {"name": "DB_PASSWORD"}, "value"], "before": "x", "after": {"a": "hunter2"}},
        {"text": "password=hunter2"},
        {"password=hunter2": 1},
        ["token: hunter2"],
        ({"password": "hunter2"},),
        "password=hunter2",
        {"password": "true hunter2"},
    ],
    ids=str,
)
def test_what_a_name_in_json_calls_secret_is_hidden(value):
    masked = MASKER.mask_json(value)
    assert "hunter2" not in json.dumps(masked)
    assert "[masked:" in json.dumps(masked)
    assert type(masked) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        {"action": "provision_namespace", "namespace": "docs-staging", "pull_secrets": ["X"], "cluster": None},
        {"kind": "Secret", "name": "registry-x", "namespace": "docs-staging"},
        {"path": ["data", ".dockerconfigjson"], "before": None, "after": keyed(KEY, b"x")},
        {"password": keyed(KEY, b"x")},
        {"token": True, "secret": None, "password": ""},
        {"name": "registry-token", "uid": "1"},
        {"field": ".spec.replicas", "manager": "kubectl"},
        {"pull_secret": "X", "image-pull-secret": "X"},
        {"audit_head": "ab" * 32, "effect_digest": "sha256:" + "ab" * 32, "idempotency_key": "k-1"},
    ],
    ids=str,
)
def test_what_is_no_secret_stays_in_json(value):
    assert MASKER.mask_json(value) == value


def test_a_number_called_a_secret_is_hidden():
    assert MASKER.mask_json({"password": 271828})["password"].startswith("[masked:")
    assert "271828" not in MASKER.mask('{"password":271828,"x":1}')
