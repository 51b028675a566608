"""Ids say what they are."""

import re

from infra_mcp.ledger.ids import ask_id, request_id


def test_a_request_id_is_twelve_letters_and_digits_that_cannot_be_mistaken():
    ids = {request_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"req-[0-9a-hjkmnp-tv-z]{12}", one) for one in ids)


def test_an_ask_id_has_the_form_of_repowires():
    assert re.fullmatch(r"ask-[0-9a-f]{12}", ask_id())
    assert ask_id() != ask_id()
