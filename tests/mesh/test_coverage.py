"""The table of what a sentence can say, held to the grammar that reads it."""

from __future__ import annotations

import json

import pytest
from pages import MEANT, SENTENCES, rows, said

from infra_mcp.mesh.grammar import SLOTS, match, tokens
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions import ACTIONS

FIELDS = [(action, field) for action, fields in SENTENCES.items() for field in fields]


@pytest.mark.parametrize(("action", "field"), FIELDS)
def test_each_sentence_says_its_field(action, field):
    understood = parse(SENTENCES[action][field])
    assert isinstance(understood, Understood)
    assert understood.action.action == action
    assert said(action, field) != ACTIONS[action].model_fields[field].default


def test_every_field_of_every_action_has_a_row_and_no_other():
    fields = [(name, field) for name, model in ACTIONS.items() for field in model.model_fields if field != "action"]
    assert [(row.action, row.field) for row in rows()] == fields


def test_every_value_the_grammar_can_read_is_in_some_sentence():
    read = {
        slot for sentence in SENTENCES["provision_namespace"].values() for slot, _ in match(tokens(sentence)).values
    }
    assert read == set(SLOTS)


@pytest.mark.parametrize("action", MEANT)
def test_what_no_sentence_can_say_is_answered_with_its_block(action):
    answer = parse(MEANT[action])
    assert isinstance(answer, NotUnderstood)
    assert not answer.open
    block = json.loads(answer.nearest[0].removeprefix("```infra\n").removesuffix("\n```"))
    assert block["action"] == action
    assert all(row.answered for row in rows() if row.action == action)
