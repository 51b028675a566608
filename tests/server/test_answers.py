"""Answers are bounded, say what was cut, and always carry the receipt."""

from __future__ import annotations

import json

import pytest

from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Request, State
from infra_mcp.server.answers import MAXIMUM, Answer, as_json, bounded, of_error, of_request

CALLER = Caller(name="docs", circle="docs", strength="token")


def request(state: State, **receipt) -> Request:
    return Request(
        id="req-1",
        caller=CALLER,
        action=Deploy(app="docs", version="1"),
        channel="tool",
        state=state,
        created="now",
        receipt={"message": "it is so", "audit_head": "h" * 64, "effect_digest": "sha256:e", **receipt}
        if receipt
        else None,
    )


@pytest.mark.promise("report.receipt")
def test_an_answer_of_an_ended_request_has_digest_commit_and_audit_head():
    answer = of_request(request(State.LANDED, commit="c0ffee"))

    assert not answer.failed
    for part in ("req-1", "sha256:e", "c0ffee", "h" * 64):
        assert part in answer.text
    assert answer.data["commit"] == "c0ffee"
    assert answer.data["exit"] == 0


@pytest.mark.promise("report.receipt")
@pytest.mark.parametrize(
    "state", [State.REFUSED, State.FAILED, State.ROLLED_BACK, State.CANCELLED, State.NEEDS_OPERATOR]
)
def test_an_end_that_is_not_what_was_asked_is_a_failure_with_code_and_next_step(state):
    error = InfraError("not-landed", "no such image").as_dict()
    answer = of_request(request(state, error=error))

    assert answer.failed
    assert answer.data["code"] == "not-landed"
    assert answer.data["next"]
    assert answer.text.startswith("not-landed: ")
    assert "req-1" in answer.text


def test_a_wait_that_ran_out_gives_the_handle():
    answer = of_request(request(State.APPLYING))

    assert not answer.failed
    assert 'get_request("req-1")' in answer.text
    assert answer.data["exit"] == 6


def test_an_error_is_code_what_and_next():
    answer = of_error(InfraError("policy-denied", "No.", next_step="Ask.", rule="r1"))

    assert answer.text == "policy-denied: No. Next: Ask."
    assert answer.data == {"code": "policy-denied", "what": "No.", "next": "Ask.", "rule": "r1", "exit": 3}


@pytest.mark.promise("mcp.errors")
def test_every_code_reaches_the_model_with_what_is_wrong_and_what_to_do_next():
    for code, about in CODES.items():
        answer = of_error(InfraError(code, "This and that."))

        assert answer.failed, code
        assert answer.text.startswith(f"{code}: This and that. Next: ")
        assert answer.data["code"] == code
        assert answer.data["next"].strip(), code
        assert answer.data["exit"] == int(about.exit), code


SIZES = {
    "rows": {"rows": [{"text": "y" * 500} for _ in range(1000)]},
    "text": {"text": "ü" * 100_000},
    "fields": {f"field-{number}": number for number in range(10_000)},
    "names": {"x" * 30_000: 1},
    "deep": {"a": {f"b{n}": {f"c{m}": "d" * 90 for m in range(40)} for n in range(40)}},
    "lists": {"a": [[["z" * 300] * 50] * 50] * 50},
}


@pytest.mark.promise("mcp.small")
@pytest.mark.parametrize("data", SIZES.values(), ids=SIZES)
def test_an_answer_stays_below_10k_tokens_and_says_what_was_cut(data):
    for text in ("→" * MAXIMUM, as_json(data)):
        cut = bounded(Answer(text, data))
        size = len(cut.text.encode()) + len(json.dumps(cut.data, ensure_ascii=False).encode())

        assert size / 4 < 10_000
        assert "cut" in json.dumps(cut.data)
        assert "cut" in cut.text
        if text == as_json(data):
            assert json.loads(cut.text) == cut.data


@pytest.mark.promise("mcp.small")
def test_what_was_cut_is_counted_from_what_there_was():
    cut = bounded(Answer("x" * 30_000, {"rows": ["y" * 5_000] * 150, "few": [1, 2]}))

    kept = len(cut.text) - len(cut.text.lstrip("x"))
    assert cut.text.endswith(f"… ({30_000 - kept} characters cut)")
    assert cut.data["rows"][-1] == f"… {150 - (len(cut.data['rows']) - 1)} more cut"
    first = cut.data["rows"][0]
    assert first.endswith(f"… ({5_000 - (len(first) - len(first.lstrip('y')))} characters cut)")
    assert cut.data["few"] == [1, 2]


def test_an_answer_that_fits_is_unchanged():
    answer = Answer("short", {"a": [1, {"b": "c"}]})

    assert bounded(answer) == answer
