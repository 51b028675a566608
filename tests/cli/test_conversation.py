"""What is remembered of a conversation, so that the next server can go on with it."""

from __future__ import annotations

import json

import pytest

from infra_mcp.cli.conversation import Conversation, Lines
from infra_mcp.errors import InfraError

GONE = InfraError("server-unreachable", "gone")


def line(**frame) -> bytes:
    return json.dumps({"jsonrpc": "2.0"} | frame).encode()


def told(lines):
    return [json.loads(one) for one in lines]


def test_lines_come_whole_however_they_were_cut():
    text = b'{"a":1}\n\n{"b":2}\r\nrest'
    for size in range(1, len(text)):
        lines = Lines()
        whole = [one for at in range(0, len(text), size) for one in lines.feed(text[at : at + size])]

        assert whole == [b'{"a":1}', b'{"b":2}\r']
        assert lines.rest == b"rest"


def test_a_line_without_end_is_dropped_and_the_next_one_is_whole():
    lines = Lines(10)
    whole = [one for part in (b"x" * 8, b"x" * 8, b"x" * 50, b"y\nnext\n") for one in lines.feed(part)]

    assert whole == [b"next"]
    assert [one["error"]["data"]["code"] for one in told(lines.refusals())] == ["invalid-argument"]
    assert not lines.refusals()


def test_frames_pass_as_they_are():
    talk = Conversation()
    odd = [b"not json", b"[1]", b'{"jsonrpc":"2.0",  "id":1,"method":"x"}', line(method="notifications/x"), b"{}"]

    assert [talk.to_server(one) for one in odd] == odd
    assert [talk.to_host(one) for one in odd] == odd


def test_what_is_under_way_when_a_server_goes_is_answered_once_for_each_request():
    talk = Conversation()
    for identity in (1, "1", 2, 3):
        talk.to_server(line(id=identity, method="tools/call"))
    talk.to_host(line(id=2, result={}))
    talk.to_server(line(method="notifications/cancelled", params={"requestId": 3}))

    assert talk.waits
    answers = told(talk.lost(GONE))
    assert [one["id"] for one in answers] == [1, "1"]
    assert all(one["error"]["data"]["code"] == "server-unreachable" for one in answers)
    assert not talk.waits
    assert talk.lost(GONE) == []


def test_a_session_is_opened_anew_with_the_hosts_own_words():
    talk = Conversation()
    opening = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "h"}}
    talk.to_server(line(id=0, method="initialize", params=opening))
    assert talk.opening() is None  # not answered yet
    talk.to_host(line(id=0, result={}))
    talk.to_server(line(method="notifications/initialized"))
    talk.lost(GONE)

    again = talk.opening()
    assert (again["method"], again["params"]) == ("initialize", opening)
    assert again["id"] != 0
    assert json.loads(talk.ready())["method"] == "notifications/initialized"


@pytest.mark.parametrize("answer", [None, {"error": {"code": -32600, "message": "no"}}])
def test_a_session_that_was_never_opened_is_not_opened_anew(answer):
    talk = Conversation()
    talk.to_server(line(id=0, method="initialize", params={}))
    if answer:
        talk.to_host(line(id=0, **answer))
    talk.lost(GONE)

    assert talk.opening() is None
    assert talk.ready() is None


def test_an_answer_to_a_question_of_a_server_that_is_gone_reaches_no_other():
    """Each server counts its questions from the beginning: an old yes must not be a yes to something new."""
    talk = Conversation()
    assert talk.to_host(line(id=0, method="elicitation/create")) == line(id=0, method="elicitation/create")
    (off,) = told(talk.lost(GONE))
    assert (off["method"], off["params"]["requestId"]) == ("notifications/cancelled", 0)
    asked = json.loads(talk.to_host(line(id=0, method="elicitation/create")))

    assert asked["id"] != 0
    assert talk.to_server(line(id=0, result={"action": "accept"})) is None
    assert json.loads(talk.to_server(line(id=asked["id"], result={"action": "decline"}))) == {
        "jsonrpc": "2.0",
        "id": 0,
        "result": {"action": "decline"},
    }
    assert talk.to_server(line(id=asked["id"], result={})) is None  # once


def test_a_question_that_the_server_takes_back_is_named_as_the_host_knows_it():
    talk = Conversation()
    talk.lost(GONE)
    asked = json.loads(talk.to_host(line(id=4, method="elicitation/create")))
    off = json.loads(talk.to_host(line(method="notifications/cancelled", params={"requestId": 4})))

    assert off["params"]["requestId"] == asked["id"]
    assert talk.to_server(line(id=asked["id"], result={})) is None


def test_a_request_that_is_sent_again_is_not_answered_in_between():
    talk = Conversation()
    for identity in (1, 2):
        talk.to_server(line(id=identity, method="tools/call"))

    assert [one["id"] for one in told(talk.lost(GONE, keep=2))] == [1]
    assert talk.expects(line(id=2, result={}))
    assert not talk.expects(line(id=1, result={}))
    assert talk.expects(line(method="notifications/progress"))
    assert talk.expects(line(id=None, error={"code": 1, "message": ""}))
