"""Answers are bounded, say what was cut, and always carry the receipt."""

from __future__ import annotations

import json

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.model.action import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Request, State
from infra_mcp.server.answers import MAXIMUM, Answer, bounded, of_error, of_request

CALLER = Caller(name="docs", circle="docs", strength="token")


def request(state: State, **receipt) -> Request:
    return Request(
        id="req-1",
        caller=CALLER,
        action=Deploy(app="docs", version="1"),
        door="tool",
        state=state,
        created="now",
        receipt={"message": "it is so", "audit_head": "h" * 64, "effect_digest": "sha256:e", **receipt}
        if receipt
        else None,
    )


@pytest.mark.promise("report.receipt")
def test_an_end_is_told_with_request_digest_commit_and_audit_head():
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


def test_what_is_too_long_is_cut_and_counted():
    data = {"rows": [{"text": "y" * 500} for _ in range(1000)]}
    cut = bounded(Answer("x" * (MAXIMUM + 17), data))

    assert cut.text.endswith("(17 characters cut)")
    assert len(json.dumps(cut.data)) <= MAXIMUM
    assert "more cut" in cut.data["rows"][-1]
