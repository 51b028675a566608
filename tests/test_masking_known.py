"""A secret that the masker was told of is hidden in every form it can take."""

import base64
import json

import pytest
from fake_secrets import DOCKER, KEY, made
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.masking import Masker


@pytest.mark.promise("secrets.nowhere")
@given(
    st.text(min_size=6, max_size=60).filter(lambda v: len(v.encode().strip()) >= 6),
    st.binary(max_size=5),
    st.binary(max_size=5),
)
def test_a_known_secret_is_hidden_in_every_form_it_can_take(secret, before, after):
    masker = Masker(KEY)
    masker.learn(secret)
    raw = secret.encode().strip()
    known = raw.decode()
    assert known not in masker.mask(f"see {known} there")
    assert json.dumps(known)[1:-1] not in masker.mask(json.dumps({"a": known}))
    encoded = base64.b64encode(before + raw + after).decode()
    core = base64.b64encode(raw[: len(raw) // 3 * 3]).decode()
    shown = masker.mask(f"see {encoded} there")
    assert len(core) < 12 or "[masked:" in shown
    if len(before) % 3 == 0 and len(core) >= 8:
        assert core not in shown


@pytest.mark.promise("secrets.nowhere")
def test_the_passwords_inside_a_known_docker_config_are_known():
    masker = Masker(KEY)
    masker.learn(DOCKER.encode())
    for leak in (
        "pw-7Hq2",
        base64.b64encode(b"robot:pw-7Hq2").decode(),
        DOCKER,
        base64.b64encode(DOCKER.encode()).decode(),
    ):
        assert leak not in masker.mask(f"error: {leak} at registry.example")
    assert masker.mask("robot at registry.example") == "robot at registry.example"


def test_a_known_secret_of_several_lines_is_hidden_when_it_is_indented():
    masker, lines = Masker(KEY), [made(64), made(64), made(64)]
    masker.learn("\n".join(lines))
    shown = masker.mask("\n".join(f"    {line}" for line in lines))
    assert not any(line in shown for line in lines)


def test_a_known_value_that_is_nearly_nothing_does_not_hide_words():
    masker = Masker(KEY)
    for value in ("", " ", "a", "docs", "     "):
        masker.learn(value)
    masker.learn(b"\xff\xfe\xfd")
    assert masker.mask("docs is a namespace") == "docs is a namespace"


def test_a_binary_secret_is_known_by_its_base64():
    masker, secret = Masker(KEY), bytes(range(200, 240))
    masker.learn(secret)
    assert base64.b64encode(secret).decode() not in masker.mask(f"data: {base64.b64encode(secret).decode()}")
