"""What a sentence seems to mean: the block with what its words say, open where they leave it open, never another's."""

import json

import pytest

from infra_mcp.mesh.blocks import blocks
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions import ACTIONS

APPS = {"docs": (), "search": ()}
VERBS = dict.fromkeys(("release", "scale", "restart", "back", "update", "set", "to", "app", "version", "docs"), ())


def block(text, apps=None):
    """The block that a sentence is answered with; None for no block."""
    answer = parse(text, APPS if apps is None else apps)
    assert isinstance(answer, NotUnderstood), answer
    assert len(answer.nearest) < 2
    found = blocks(answer.nearest[0]) if answer.nearest else []
    return json.loads(found[0].body) if found else None


def deploy(app, version):
    return {"action": "deploy", "app": app, "version": version}


def rollback(request):
    return {"action": "rollback", "request": request}


def scale(app, replicas):
    return {"action": "scale", "app": app, "replicas": replicas}


MEANT = {
    "roll back docs to 1.2.3": deploy("docs", "1.2.3"),
    "please roll docs back to v1.2.3, thanks": deploy("docs", "v1.2.3"),
    "revert docs to version 1.2.3": deploy("docs", "1.2.3"),
    "rollback docs from 1.2.4 to 1.2.3": deploy("docs", "1.2.3"),
    "downgrade docs to 1.2.3": deploy("docs", "1.2.3"),
    "bump docs to 1.2.3": deploy("docs", "1.2.3"),
    "Bump Docs to 1.2.3!": deploy("docs", "1.2.3"),
    "update docs image tag to 1.2.3 for production": deploy("docs", "1.2.3"),
    "update docs to 1.2.3": deploy("docs", "1.2.3"),
    "update docs' image to 1.2.3": deploy("docs", "1.2.3"),
    "set the image of docs to registry.example:5000/docs/site:1.2.3": deploy("docs", "1.2.3"),
    "set docs's version to 20260801": deploy("docs", "20260801"),
    "deploy docs with tag main-4f2a91c": deploy("docs", "main-4f2a91c"),
    "upgrade docs from 1.2.3 to 1.3.0": deploy("docs", "1.3.0"),
    "upgrade docs 1.2.3 -> 1.3.0": deploy("docs", "1.3.0"),
    "promote docs 1.2.3 to production": deploy("docs", "1.2.3"),
    "can you move docs to 1.2.3 in staging?": deploy("docs", "1.2.3"),
    "set replicas of docs to 3": scale("docs", 3),
    "set docs replicas=3": scale("docs", 3),
    "scale docs to 3 in staging": scale("docs", 3),
    "scale docs from 2 to 5": scale("docs", 5),
    "increase the pods of docs to 7": scale("docs", 7),
    "update the number of replicas of docs to 0": scale("docs", 0),
    "restart docs": {"action": "restart", "app": "docs"},
    # what is unclear is left open
    "upgrade docs from 1.2.3": deploy("docs", "<version>"),
    "deploy docs to production": deploy("docs", "<version>"),
    "deploy docs 1.2.3 or 1.3.0": deploy("docs", "<version>"),
    "bump docs to 1.2.3 and search to 2.0.0": deploy("<app>", "<version>"),
    "deploy docs and search 1.2.3": deploy("<app>", "1.2.3"),
    "scale docs by 2": scale("docs", "<replicas>"),
    "scale docs up 2": scale("docs", "<replicas>"),
    "scale docs to three": scale("docs", "<replicas>"),
    "scale docs between 2 and 4": scale("docs", "<replicas>"),
    "roll back docs": rollback("<request>"),
    "undo 1.2.3 of docs": rollback("<request>"),
    "revert the deploy of docs 1.2.3": rollback("<request>"),
    "roll back req-0123456789ab": rollback("req-0123456789ab"),
    "please undo req-0123456789ab, it broke docs 1.2.3": rollback("req-0123456789ab"),
    "roll back req-0123456789ab and req-ba9876543210": rollback("<request>"),
    # no block means it
    "roll back docs and restart search": None,
    "restart and deploy docs 1.2.3": None,
    "delete docs 1.2.3": None,
    "set docs to 3": None,
    "update docs": None,
    "update the labels of docs": None,
    "please set up a namespace 'x' with 20 pods later": None,
}


@pytest.mark.fault("r9")
@pytest.mark.parametrize(("text", "meant"), MEANT.items(), ids=MEANT)
def test_a_sentence_that_means_an_action_is_answered_with_its_block_filled_in_as_far_as_it_is_clear(text, meant):
    assert block(text) == meant


NAMED_LIKE_VERBS = {
    "deploy release 1.2.3": deploy("release", "1.2.3"),
    "release restart 1.2.3": deploy("restart", "1.2.3"),
    "restart release": {"action": "restart", "app": "release"},
    "restart restart": {"action": "restart", "app": "restart"},
    "scale scale to 3": scale("scale", 3),
    "scale update to 3": scale("update", 3),
    "update update to 1.2.3": deploy("update", "1.2.3"),
    "set set replicas to 3": scale("set", 3),
    "deploy back 1.2.3": deploy("back", "1.2.3"),
    "deploy 'back' 1.2.3": deploy("back", "1.2.3"),
    "roll back back to 1.2.3": deploy("back", "1.2.3"),
    "roll back docs to 1.2.3": deploy("docs", "1.2.3"),
    "roll docs back to 1.2.3": deploy("docs", "1.2.3"),
    "update docs to 1.2.3": deploy("docs", "1.2.3"),
    "deploy to to 1.2.3": deploy("to", "1.2.3"),
    "deploy app 1.2.3": deploy("app", "1.2.3"),
    "deploy the app docs version 1.2.3": deploy("docs", "1.2.3"),
}


@pytest.mark.fault("r9")
@pytest.mark.parametrize(("text", "meant"), NAMED_LIKE_VERBS.items(), ids=NAMED_LIKE_VERBS)
def test_an_app_may_have_the_name_of_a_verb(text, meant):
    assert block(text, VERBS) == meant


@pytest.mark.fault("r9")
@pytest.mark.parametrize("app", sorted({verb for model in ACTIONS.values() for verb in model.verbs | model.nouns}))
def test_every_word_of_an_action_can_be_an_app(app):
    for sentence, meant in {
        f"deploy {app} 1.2.3": deploy(app, "1.2.3"),
        f"scale {app} to 3": scale(app, 3),
        f"restart {app}": {"action": "restart", "app": app},
    }.items():
        assert block(sentence, {app: ()}) == meant


PLACES = {
    "update docs image tag to 1.2.3 for production": "production",
    "scale docs to 3 in staging": "staging",
    "promote docs 1.2.3 to Production": "production",
    "promote docs 1.2.3 from staging to production": "production",
    "roll back docs to 1.2.3 in production": "production",
    "restart docs on staging": "staging",
    "deploy docs staging 1.2.3": "staging",
    "deploy docs v2 to eu-1": "eu-1",
    "deploy docs to eu-1": "eu-1",
    # unknown, several, or none of several
    "deploy docs 1.2.3 to prod": "<environment>",
    "deploy docs 1.2.3 for staging and production": "<environment>",
    "deploy docs 1.2.3": "<environment>",
}


@pytest.mark.fault("r9")
@pytest.mark.parametrize(("text", "environment"), PLACES.items(), ids=PLACES)
def test_the_environment_is_one_that_the_app_has_or_left_open(text, environment):
    found = block(text, {"docs": ("staging", "production", "eu-1"), "search": ()})

    assert (found["app"], found["environment"]) == ("docs", environment)
    assert found.get("version") in {None, "1.2.3", "v2", "<version>"}
    assert found.get("replicas", 3) == 3


def test_an_app_with_one_environment_or_none_needs_none_in_the_block():
    assert "environment" not in block("deploy docs 1.2.3", {"docs": ("production",)})
    assert block("deploy docs 1.2.3 to production", {"docs": ("production",)})["environment"] == "production"
    assert block("deploy docs 1.2.3 to staging", {"docs": ("production",)})["environment"] == "<environment>"
    assert "environment" not in block("deploy docs 1.2.3 to staging", {"docs": ()})
    assert "environment" not in block("deploy docs and search 1.2.3 to a", {"docs": ("a", "b"), "search": ("a",)})


HOSTILE = [
    "deploy " * 100,
    "scale docs to " + "9" * 1000,
    "scale docs to \u0664",
    "scale docs to -1",
    "deploy docs ../../etc/passwd",
    "deploy docs 1.2.3\u202e",
    "roll back to to to",
    "set",
    "back",
    "to 1.2.3",
    "update '' to ''",
    "@:=@:= deploy =:",
    "bump <app> to <version>",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_odd_sentences_give_no_value_that_is_not_of_its_form(text):
    for apps in (APPS, VERBS, {}):
        found = block(text, apps)
        if found and not any(str(value).startswith("<") for value in found.values()):
            assert isinstance(parse(f"```infra\n{json.dumps(found)}\n```"), Understood)
        assert found is None or len(json.dumps(found)) < 200
