"""Masking takes seconds at most, whatever the text is made of."""

import pytest
from fake_secrets import MASKER

SLOW = [
    "a",
    "token ",
    "password",
    "password='",
    'token:\\"',
    "eyJ-",
    "eyJ.",
    "eyJa.eyJb.",
    "://a",
    "://a:",
    "https://a@",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "kind: Secret data:{",
    "kind: Secret\ndata:\n",
    "\n \n",
    "name: TOKEN\n",
    '{"name":"TOKEN",',
    "curl -u ",
    "docker login ",
    "--password",
    "authorization:",
    "bearer ",
    "basic aaaa ",
    "password: |\n \n",
    "-sk-",
    "\\",
    "[masked:01234567]",
    "password=[masked:01234567]",
    ".atlasv1.",
    "a.",
    "\U0001f989",
]


@pytest.mark.timeout(120)  # each takes a second or two; a rule that backtracks would take days
@pytest.mark.parametrize("piece", SLOW)
def test_a_large_text_made_to_be_slow_is_not(piece):
    text = "secret kind: Secret eyJ token " + piece * (250_000 // len(piece))
    assert MASKER.mask(text)


@pytest.mark.timeout(120)
def test_a_megabyte_of_log_is_masked_in_one_go():
    line = "2026-11-22T10:00:00Z docs-live/docs: GET /page?id=7 200 from 10.0.0.7, image sha256:0f0f0f token accepted\n"
    text = line * (1_000_000 // len(line)) + "password=hunter2\n"
    masked = MASKER.mask(text)
    assert masked.startswith(text[:-17])
    assert "hunter2" not in masked
