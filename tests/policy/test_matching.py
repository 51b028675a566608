import pytest

from infra_mcp.model.approval import Need
from infra_mcp.policy.matching import Subject, denials, requirements
from infra_mcp.policy.restrictions import Match, Require, Rule

SUBJECT = Subject(
    action="deploy", peer="docs", circle="docs", namespaces=frozenset({"docs-live"}), apps=frozenset({"docs"})
)


def deny(**match) -> Rule:
    return Rule(id="r", match=Match.model_validate(match), deny=True)


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"namespaces": ("docs-*",)},
        {"namespaces": ("x", "*-live")},
        {"actions": ("deploy",), "peers": ("docs",), "circles": ("d*",), "apps": ("*",)},
    ],
)
def test_a_rule_holds_when_every_key_matches_by_one_of_its_patterns(match):
    assert [found.rule for found in denials([deny(**match)], SUBJECT)] == ["rules.r"]


@pytest.mark.parametrize(
    "match",
    [{"namespaces": ("docs",)}, {"namespaces": ()}, {"actions": ("deploy",), "peers": ("shop",)}, {"apps": ("till",)}],
)
def test_a_rule_does_not_hold_when_one_key_does_not_match(match):
    assert not list(denials([deny(**match)], SUBJECT))


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    "rule",
    [
        Rule(id="r", match=Match.model_validate({"namespace": ["x"]}), deny=True),
        Rule(id="r", match=Match.model_validate({"weekdays": ["sat"]}), require=Require()),
        Rule(id="r", require=Require(by="docs")),
        Rule(id="r", require=Require(strength="yubikey")),
        Rule(id="r", require=Require(by="merge", approvals=2)),
        Rule(id="r", require=Require(by="merge", strength="token")),
        Rule(id="r", require=Require(by="review", strength="token")),
        Rule(id="r", require=Require(by="review", strength="signed")),
        Rule(id="r", require=Require.model_validate({"minutes": 5})),
    ],
)
def test_a_rule_that_cannot_be_evaluated_denies_and_says_so(rule):
    (found,) = denials([rule], SUBJECT)

    assert "cannot be evaluated" in found.reason
    assert found.would_pass


def test_a_rule_with_an_unknown_key_is_left_out_where_a_known_key_says_it_is_about_something_else():
    rule = Rule(id="r", match=Match.model_validate({"weekdays": ["sat"], "namespaces": ("shop-*",)}), deny=True)

    assert not list(denials([rule], SUBJECT))


def test_what_can_be_checked_requires_an_approval_and_does_not_deny():
    rule = Rule(id="r", match=Match(apps=("docs",)), require=Require(approvals=2, strength="token"), reason="live")

    assert not list(denials([rule], SUBJECT))
    assert list(requirements([rule], SUBJECT)) == [
        (Need(rule="rules.r", approvals=2, strength="token", seconds=3600.0), "live")
    ]
