from datetime import UTC, datetime, timedelta

import pytest

from infra_mcp.model.approval import Approval, Need, Reviewed, Verdict
from infra_mcp.model.peer import Caller
from infra_mcp.policy.approvals import approval_timeout, in_words, missing, missing_reviews, satisfied

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DIGEST = "sha256:aa"
DOCS = Caller(name="docs", circle="docs", strength="token")
ONE = Need(rule="rules.one")
TWO = Need(rule="rules.two", approvals=2)
KNOWN = Need(rule="rules.known", strength="token")


def verdict(*needs: Need, decision="needs-approval") -> Verdict:
    return Verdict(decision=decision, rule="rules.r", reason="", needs=needs)


def yes(approver="alice", *, ago=1, lasts=60, **rest) -> Approval:
    at, until = NOW - timedelta(minutes=ago), NOW + timedelta(minutes=lasts - ago)
    told = {
        "request": "req-1",
        "effect_digest": DIGEST,
        "approve": True,
        "approver": approver,
        "way": "cli",
        "strength": "token",
        "at": at.isoformat(timespec="milliseconds"),
        "expires": f"{until:%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    return Approval.model_validate(told | rest)


def enough(needs, approvals, requester=DOCS) -> bool:
    if not isinstance(needs, tuple):
        needs = (needs,)
    return satisfied(verdict(*needs), DIGEST, requester, approvals, NOW)


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize(
    ("needs", "approvals", "is_enough"),
    [
        (ONE, [yes()], True),
        (ONE, [], False),
        (ONE, [yes(), yes("bob")], True),
        (TWO, [yes(), yes("bob")], True),
        (TWO, [yes()], False),
        (TWO, [yes(), yes(), yes(way="elicitation")], False),  # one person, three times
        (TWO, [yes(), yes("bob", effect_digest="sha256:bb")], False),
        (ONE, [yes(effect_digest="sha256:bb")], False),
        (ONE, [yes(effect_digest="sha256:AA")], False),
        (ONE, [yes(used=NOW.isoformat())], False),
        (ONE, [yes(ago=60)], False),
        (ONE, [yes(ago=59)], True),
        (ONE, [yes(ago=59, lasts=600)], True),
        (ONE, [yes(ago=61, lasts=600)], False),  # the rule says one hour by now, whatever it said then
        (ONE, [yes(ago=5, lasts=5)], False),
        (TWO, [yes(), yes("bob", ago=61)], False),
        ((ONE, TWO), [yes(), yes("bob")], True),
        ((ONE, TWO), [yes()], False),
        ((TWO, KNOWN), [yes(strength="same-user"), yes("bob")], True),
        ((TWO, KNOWN), [yes(strength="same-user"), yes("bob", strength="same-user")], False),
    ],
)
def test_an_approval_counts_for_the_effect_it_was_given_for_once_and_until_it_expires(needs, approvals, is_enough):
    assert enough(needs, approvals) is is_enough


@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize(
    ("approver", "is_enough"), [("docs", False), ("alice", True), ("Docs", True), ("docs-2", True)]
)
def test_nobody_approves_what_they_asked_for(approver, is_enough):
    assert enough(ONE, [yes(approver)]) is is_enough


@pytest.mark.promise("approval.not-self")
def test_whoever_asked_is_not_one_of_two():
    assert not enough(TWO, [yes("docs"), yes("alice")])
    assert enough(TWO, [yes("docs"), yes("alice"), yes("bob")])


@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize(
    ("need", "strength", "is_enough"),
    [(ONE, "same-user", True), (ONE, "token", True), (KNOWN, "same-user", False), (KNOWN, "token", True)],
)
def test_a_rule_can_demand_how_well_the_approver_is_known(need, strength, is_enough):
    assert enough(need, [yes(strength=strength)]) is is_enough


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize("who", ["alice", "bob", "docs"])
@pytest.mark.parametrize("ago", [1, 500])
def test_one_denial_outweighs_every_approval_and_does_not_expire(who, ago):
    others = [yes(), yes("bob"), yes("carol")]

    assert enough(ONE, others)
    assert not enough(ONE, [yes(who, approve=False, ago=ago), *others])
    assert not enough(ONE, [*others, yes(who, approve=False, ago=ago, strength="same-user")])
    assert enough(ONE, [*others, yes(who, approve=False, effect_digest="sha256:bb")])


@pytest.mark.promise("approval.no-fallback")
@pytest.mark.parametrize(
    ("found", "is_enough"),
    [
        (verdict(ONE, decision="allow"), True),
        (verdict(decision="allow"), True),
        (verdict(), False),  # it needs something, and nobody says what
        (verdict(ONE, decision="refuse"), False),
        (verdict(decision="refuse"), False),
        (verdict(Need(rule="rules.r", by="board")), False),
        (verdict(ONE, Need(rule="rules.r", by="board")), False),
    ],
)
def test_what_cannot_be_told_counts_as_no(found, is_enough):
    everyone = [yes(name) for name in ("alice", "bob", "carol")]

    assert satisfied(found, DIGEST, DOCS, everyone, NOW) is is_enough
    assert bool(missing(found, DIGEST, DOCS, everyone, NOW)) is not is_enough


@pytest.mark.parametrize(
    ("needs", "approvals", "said"),
    [
        ((ONE,), [yes()], ""),
        ((ONE,), [], "rules.one has 0 of 1 approval by an operator"),
        ((TWO,), [yes()], "rules.two has 1 of 2 approvals by different operators"),
        (
            (TWO, KNOWN),
            [yes(strength="same-user")],
            (
                "rules.two has 1 of 2 approvals by different operators; rules.known has 0 of 1 approval by an operator "
                "known by a token (alice's does not count: not authenticated strongly enough)"
            ),
        ),
        ((ONE, TWO), [yes()], "rules.two has 1 of 2 approvals by different operators"),
        (
            (ONE,),
            [yes("docs"), yes("bob", ago=99), yes("carol", used="2026-11-22T11:00:00Z"), yes(effect_digest="x")],
            (
                "rules.one has 0 of 1 approval by an operator (bob's does not count: expired, carol's does not count: "
                "used already, docs's does not count: requesters cannot approve their own request)"
            ),
        ),
        ((TWO,), [yes(), yes(ago=99)], "rules.two has 1 of 2 approvals by different operators"),
        ((ONE,), [yes(approve=False)], "it was denied"),
        ((), [], "rules.r refuses it, so no approval helps"),
    ],
)
def test_what_is_missing_is_said_in_words(needs, approvals, said):
    assert missing(verdict(*needs), DIGEST, DOCS, approvals, NOW) == said


def test_a_request_waits_as_long_as_its_most_impatient_rule():
    assert approval_timeout(verdict(ONE, Need(rule="rules.r", seconds=60.0), TWO)) == 60.0
    assert approval_timeout(verdict()) == 0.0


def test_what_a_rule_wants_is_said_in_words():
    assert in_words(Need(rule="r", approvals=3, strength="token")) == (
        "3 approvals by different operators known by a token"
    )


SEEN, SEEN_BY_TWO = (Need(rule="rules.seen", by="review", approvals=number) for number in (1, 2))
OPERATORS = {"a1": "ann", "a2": "ann", "b": "bob", "c": "carl", "d": "docs"}


def reviewed(*accounts: str, against: str = "") -> list[Reviewed]:
    return [Reviewed(by=one.strip("-"), approves=not one.startswith("-"), against=against) for one in accounts]


@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize(
    ("need", "reviews", "said"),
    [
        (SEEN, reviewed("b"), ""),
        (SEEN_BY_TWO, reviewed("a1", "b"), ""),
        (SEEN, [], "rules.seen has 0 of 1 review by an operator"),
        (SEEN, reviewed("-stranger"), "rules.seen has 0 of 1 review by an operator"),
        (
            SEEN,
            reviewed("stranger", "d"),
            (
                "rules.seen has 0 of 1 review by an operator (stranger's does not count: forge.operators maps stranger "
                "to no operator; d's does not count: docs asked for it)"
            ),
        ),
        # one person with two accounts
        (SEEN_BY_TWO, reviewed("a1", "a2"), "rules.seen has 1 of 2 reviews by different operators"),
        (SEEN, reviewed("b", "-a1"), "rules.seen: ann asks for changes"),
        (
            SEEN,
            reviewed("b", against="it is old"),
            "rules.seen has 0 of 1 review by an operator (b's does not count: it is old)",
        ),
        (SEEN, reviewed("c"), ""),
        (
            SEEN_BY_TWO,
            reviewed("b", "c"),
            (
                "rules.seen has 1 of 2 reviews by different operators (c's does not count: others must confirm this "
                "operator first)"
            ),
        ),
    ],
)
def test_reviews_count_by_different_operators_who_did_not_ask(need, reviews, said):
    assert missing_reviews(need, reviews, OPERATORS, "docs", gone=set(), uncounted={"carl"}) == said


@pytest.mark.promise("approval.not-self")
def test_an_operator_who_was_removed_reviews_nothing():
    said = missing_reviews(SEEN, reviewed("b"), OPERATORS, "docs", gone={"bob"}, uncounted={"bob"})

    assert said.endswith("(b's does not count: no longer an operator)")


@pytest.mark.promise("approval.no-fallback")
def test_no_approval_given_to_infra_mcp_stands_for_a_review_or_a_merge():
    everyone = [yes(name) for name in ("alice", "bob", "carol")]

    assert not any(enough(Need(rule="rules.r", by=by), everyone) for by in ("review", "merge"))
