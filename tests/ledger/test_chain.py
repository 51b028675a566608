"""The chain by itself: what it notices, and what it cannot claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.ledger.chain import FIELDS, GENESIS, ChainVerifier, link


def chained(texts):
    rows, prev = [], GENESIS
    for seq, text in enumerate(texts, 1):
        row = dict.fromkeys(FIELDS) | {"seq": seq, "at": "t", "kind": "k", "text": text, "data": "{}", "prev": prev}
        row |= {"namespaces": "[]", "objects": "[]"}
        row["hash"] = prev = link(row)
        rows.append(row)
    return rows


def walked(rows, heads=()):
    walk = ChainVerifier(frozenset(heads))
    walk.feed(rows)
    return walk


@pytest.mark.promise("audit.chain")
@given(st.lists(st.text(), min_size=1, max_size=8), st.data())
def test_a_change_of_any_field_of_any_event_is_noticed(texts, data):
    rows = chained(texts)
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(FIELDS))
    rows[at][name] = 10_000 if name == "seq" else f"{rows[at][name]}x"
    assert walked(rows).broken_at == at + 1


@pytest.mark.promise("audit.chain")
@given(st.lists(st.text(), min_size=3, max_size=8), st.data())
def test_an_event_taken_out_or_moved_is_noticed(texts, data):
    rows = chained(texts)
    at = data.draw(st.integers(0, len(rows) - 2))
    assert walked(rows[:at] + rows[at + 1 :]).broken_at == at + 1
    swapped = [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]
    assert walked(swapped).broken_at == at + 1


@pytest.mark.promise("audit.chain")
def test_a_cut_end_is_noticed_only_by_a_head_that_was_given_out():
    rows = chained("abcde")
    cut = rows[:3]
    assert walked(cut).broken_at is None
    assert walked(cut, [rows[4]["hash"]]).missing == (rows[4]["hash"],)
    assert walked(cut, [rows[2]["hash"]]).proved_to == 3


def test_a_chain_made_anew_is_noticed_by_an_old_head_and_by_nothing_else():
    old, new = chained("abc"), chained("abd")
    assert walked(new).broken_at is None
    assert walked(new, [old[2]["hash"], old[1]["hash"]]).missing == (old[2]["hash"],)


def test_a_head_behind_a_broken_link_proves_nothing():
    rows = chained("abcd")
    rows[1]["text"] = "x"
    walk = walked(rows, [rows[0]["hash"], rows[3]["hash"]])
    assert (walk.broken_at, walk.proved_to, walk.missing) == (2, 1, (rows[3]["hash"],))


def test_pieces_are_checked_as_one_chain():
    rows = chained("abcdef")
    walk = ChainVerifier(frozenset({rows[5]["hash"]}))
    for row in rows:
        walk.feed([row])
    assert (walk.events, walk.broken_at, walk.proved_to, walk.missing) == (6, None, 6, ())


def test_an_empty_chain_is_sound_and_proves_nothing():
    assert (walked([]).broken_at, walked([]).proved_to, walked([], ["a"]).missing) == (None, None, ("a",))


def test_a_gap_is_noticed_even_where_every_hash_is_right():
    rows = chained("ab")
    rows[1]["seq"] = 3
    rows[1]["hash"] = link(rows[1])
    assert walked(rows).broken_at == 2
