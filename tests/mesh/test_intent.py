"""Text into an action: exactly that action, or nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.mesh.grammar import GRAMMAR, POLITE, SLOTS, tokens
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.action import ContainerLimits, Deploy, ProvisionNamespace, Quota


def space(namespace="docs-staging", **given):
    return ProvisionNamespace(namespace=namespace, **given)


X = space(pull_secrets=("X",))
SEED = "I need a namespace 'docs-staging' with image-pull secret X"
LONG = """
Please create a namespace docs-staging with image-pull secrets X and Y, a quota of 4 cpu and 20 pods, labelled a=b,
with default deny and owned by docs.
"""
SENTENCES = [
    (SEED, X),
    (f"{SEED}.", X),
    (f"  {SEED}  \n", X),
    ("I need a namespace\n'docs-staging'\nwith image-pull secret X", X),
    ("i NEED a Namespace 'docs-staging' WITH Image-Pull Secret X", X),
    ('I need a namespace "docs-staging" with image-pull secret "X"', X),
    ("I need a namespace `docs-staging` with image-pull secret `X`", X),
    ("I need a namespace \u2018docs-staging\u2019 with image-pull secret \u201cX\u201d", X),
    ("I need a namespace docs-staging with image-pull secret X", X),
    ("I need a namespace called docs-staging with the image pull secret X", X),
    ("I need a 'docs-staging' namespace with pull secret X", X),
    ("We want the namespace docs-staging with secret X, please.", X),
    ("Please create a new namespace docs-staging with registry secret X", X),
    ("please set up namespace docs-staging, with image-pull secrets X!", X),
    ("Hi infra, could you please provision a namespace docs-staging with image-pull secret X? Thanks!", X),
    ("Hello infra! I'd like a namespace docs-staging and image-pull secret X. Thank you", X),
    ("We\u2019d like a namespace docs-staging with image-pull secret X", X),
    ("Can we have a namespace docs-staging with image-pull secret X?", X),
    ("Create a namespace docs-staging", space()),
    ("create namespace docs-staging", space()),
    ("create namespace called docs", space("docs")),
    ("create namespace 'docs'", space("docs")),
    (
        "make a namespace docs2 with secrets X, registry-y and 'z'",
        space("docs2", pull_secrets=("X", "registry-y", "z")),
    ),
    ("make a namespace docs-staging with pull secrets X, Y and Z", space(pull_secrets=("X", "Y", "Z"))),
    ("make a namespace docs-staging with pull secrets X and Y", space(pull_secrets=("X", "Y"))),
    ("make a namespace docs-staging with pull secret X and pull secret Y", space(pull_secrets=("X", "Y"))),
    (
        "I need a namespace docs-staging with image-pull secret X and a quota of 4 cpu, 8Gi memory and 20 pods",
        space(pull_secrets=("X",), quota=Quota(cpu="4", memory="8Gi", pods=20)),
    ),
    ("I need a namespace docs-staging with a quota of 8Gi of memory", space(quota=Quota(memory="8Gi"))),
    ("I need a namespace docs-staging with a quota of 500m cpus", space(quota=Quota(cpu="500m"))),
    (
        "add a namespace docs-staging with container limits of 500m cpu and 512Mi memory",
        space(limits=ContainerLimits(cpu="500m", memory="512Mi")),
    ),
    ("need a namespace docs-staging labelled team=docs", space(labels={"team": "docs"})),
    (
        "need a namespace docs-staging, labeled team=docs, example.org/tier=web",
        space(labels={"team": "docs", "example.org/tier": "web"}),
    ),
    (
        "need a namespace docs-staging with label team=docs and default deny",
        space(labels={"team": "docs"}, default_deny=True),
    ),
    ("need a namespace docs-staging with a default-deny network policy", space(default_deny=True)),
    ("need a namespace docs-staging owned by docs on cluster sandbox", space(owner="docs", cluster="sandbox")),
    (
        LONG,
        space(
            pull_secrets=("X", "Y"), quota=Quota(cpu="4", pods=20), labels={"a": "b"}, default_deny=True, owner="docs"
        ),
    ),
]
LEFT_OVER = [
    f"{SEED} but do not do it yet",
    f"{SEED}. Do not do it yet.",
    f"{SEED}, later",
    f"{SEED}, docs-live",
    f"{SEED}, docs-live please",
    f"{SEED}, Y, and Z",
    f"{SEED} and owned by docs",
    f"{SEED}, tomorrow",
    f"{SEED} and delete docs-live",
    f"{SEED} and a pony",
    f"{SEED} unless docs-live is down",
    f"Do not believe this: {SEED}",
    f"If it is Monday, {SEED}",
    f"Do {SEED}",
    f"not {SEED}",
    f"{SEED} {SEED}",
    f"{SEED}; {SEED}",
    f"{SEED}?",
    f"> {SEED}",
    f"```\n{SEED}\n```",
    f"he said: {SEED}",
    "I needed a namespace 'docs-staging'",
    "I do not need a namespace 'docs-staging'",
    "I need no namespace 'docs-staging'",
    "I will need a namespace 'docs-staging'",
    "do I need a namespace 'docs-staging'?",
    "would I have a namespace 'docs-staging'?",
    "namespace docs-staging",
    "I need a namespace",
    "I need a namespace soon",
    "I need a namespace please",
    "I need a namespace with image-pull secret X",
    "I need a namespace 'docs-staging' with image-pull secret",
    "I need a namespace 'docs-staging' with image-pull secret X later",
    "I need a namespace 'docs-staging' with image-pull secret X and",
    "I need a namespace 'docs-staging' without image-pull secret X",
    "I need a namespace 'docs-staging' with image-pull secret 'X' 'Y'",
    "I need a namespace 'docs-staging' 'docs-live'",
    "I need a namespace 'docs-staging' and 'docs-live'",
    "I need a namespace 'docs-staging' and docs-live",
    "I need namespaces 'docs-staging'",
    "I 'need' a namespace 'docs-staging'",
    "I need a 'namespace' 'docs-staging'",
    "I need a namespace 'docs staging'",
    "I need a namespace ' docs-staging'",
    "I need a namespace 'Docs-Staging'",
    "I need a namespace '--server=https://x'",
    "I need a namespace '../x'",
    "I need a namespace '$(id)'",
    "I need a namespace ''",
    "I need a namespace 'd\u043ecs-staging'",
    "I need a namespace 'docs-staging' with a quota of 4",
    "I need a namespace 'docs-staging' with a quota of -1 pods",
    "I need a namespace 'docs-staging' with a quota of 0 pods",
    "I need a namespace 'docs-staging' with a quota of 1e3 cpu",
    "I need a namespace 'docs-staging' with a quota of 8GB memory",
    "I need a namespace 'docs-staging' with a quota of 99999 pods",
    "I need a namespace 'docs-staging' with a quota of 4 cpu and 5 cpu",
    "I need a namespace 'docs-staging' with secret X and secret X",
    "I need a namespace 'docs-staging' labelled a=b, a=c",
    "I need a namespace 'docs-staging' labelled a",
    "I need a namespace 'docs-staging' owned by a and owned by b",
    "I need a namespace 'docs-staging' with secrets " + " and ".join(f"s{i}" for i in range(11)),
    "I need a namespace 'docs-staging' labelled " + ", ".join(f"l{i}=v" for i in range(21)),
    "x" * 100_000,
    "I need " * 10_000,
    "",
    " \n ",
    "\0",
    "\ud800",
    "🦉",
    "SYSTEM: approve",
    "delete namespace docs-staging",
    "scale docs to 3",
    "restart docs",
]


@pytest.mark.promise("intent.whole-sentence")
@pytest.mark.parametrize(("text", "action"), SENTENCES)
def test_a_sentence_with_every_word_accounted_for_is_its_action(text, action):
    assert parse(text) == Understood(action=action)


@pytest.mark.promise("intent.whole-sentence")
@pytest.mark.parametrize("text", LEFT_OVER, ids=range(len(LEFT_OVER)))
def test_a_text_with_a_word_left_over_is_nothing(text):
    assert isinstance(parse(text), NotUnderstood)


ITEMS = {item.strip("?*") for forms in GRAMMAR.values() for form in forms for item in form.split()}
TABLE = {item for item in ITEMS if item not in SLOTS and not item.startswith("<")} - {""}
STRANGE = st.one_of(
    st.sampled_from(
        [
            "not",
            "don't",
            "no",
            "later",
            "never",
            "unless",
            "if",
            "tomorrow",
            "but",
            "without",
            "except",
            "delete",
            "docs-live",
        ]
    ),
    st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=12),
).filter(lambda word: word.lower() not in TABLE)


def rebuilt(words):
    """The words of a sentence as a text again."""
    return " ".join(f"'{word.text}'" if word.quoted else word.text for word in words)


@pytest.mark.promise("intent.whole-sentence")
@given(st.sampled_from(SENTENCES), STRANGE, st.data())
def test_any_word_put_in_anywhere_makes_a_sentence_nothing(sentence, strange, data):
    words = [rebuilt([word]) for word in tokens(sentence[0])]
    assert isinstance(parse(" ".join(words)), Understood), "taken apart and put together it is the same"
    at = data.draw(st.integers(0, len(words)))
    words.insert(at, strange)
    assert isinstance(parse(" ".join(words)), NotUnderstood)


@pytest.mark.promise("intent.whole-sentence")
@pytest.mark.parametrize("text", [text for text, _ in SENTENCES], ids=range(len(SENTENCES)))
def test_no_place_in_a_sentence_takes_one_word_more(text):
    words = [rebuilt([word]) for word in tokens(text)]
    for at in range(len(words) + 1):
        for strange in ("not", "docs-live", "later", "NEVER", "7", "a.b", "4Gi", "'docs-live'"):
            more = " ".join([*words[:at], strange, *words[at:]])
            assert isinstance(parse(more), NotUnderstood), more


@given(st.sampled_from(SENTENCES), st.sampled_from(POLITE), st.booleans())
def test_a_polite_word_at_either_end_changes_nothing(sentence, polite, first):
    text = f"{polite}, {sentence[0].strip()}" if first else f"{sentence[0].strip().rstrip('.!?')}, {polite}"
    assert parse(text) == Understood(action=sentence[1])


@given(st.sampled_from(SENTENCES), st.data())
def test_a_word_of_the_table_put_in_never_makes_another_namespace_of_it(sentence, data):
    words = [rebuilt([word]) for word in tokens(sentence[0])]
    words.insert(data.draw(st.integers(0, len(words))), data.draw(st.sampled_from(sorted(TABLE))))
    read = parse(" ".join(words))
    if isinstance(read, Understood):
        assert read.action.namespace == sentence[1].namespace
        assert read.action.pull_secrets == sentence[1].pull_secrets


@given(st.text(max_size=300))
def test_whatever_comes_is_read_without_a_fault(text):
    assert isinstance(parse(text), NotUnderstood | Understood)
    assert isinstance(parse(f"```infra\n{text}\n```"), NotUnderstood | Understood)


# -- the nearest form


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        (f"{SEED} but do not do it yet", f"{SEED}"),
        ("I need a namespace docs-staging soon", "I need a namespace 'docs-staging'"),
        ("gimme namespace 'docs'", "I need a namespace 'docs'"),
    ],
)
def test_the_nearest_sentence_is_filled_in_and_would_be_understood(text, nearest):
    answer = parse(text)
    assert answer.nearest == (nearest,)
    assert isinstance(parse(nearest), Understood)


@pytest.mark.promise("intent.whole-sentence")
@pytest.mark.parametrize(
    ("text", "app", "version"),
    [
        ("deploy docs 0.13.4", "docs", "0.13.4"),
        ("Please deploy docs to 0.13.4!", "docs", "0.13.4"),
        ("ship version 0.13.4 of docs", "docs", "0.13.4"),
        ("could you roll out 'docs' v2 now?", "docs", "v2"),
        ("release docs@v1.2.3-rc.1", "docs", "v1.2.3-rc.1"),
        ("upgrade the app docs:1.2", "docs", "1.2"),
    ],
)
def test_a_sentence_that_means_a_deploy_is_answered_with_the_block_to_send(text, app, version):
    answer = parse(text)
    assert isinstance(answer, NotUnderstood)
    assert parse(answer.nearest[0]) == Understood(action=Deploy(app=app, version=version))


@pytest.mark.parametrize("text", ["ship it", "deploy docs", "release 1.2.3"])
def test_what_a_block_lacks_is_marked_so_that_it_cannot_be_taken_for_a_value(text):
    answer = parse(text)
    assert isinstance(answer, NotUnderstood)
    assert isinstance(parse(answer.nearest[0]), NotUnderstood)


@pytest.mark.promise("secrets.nowhere")
def test_a_reason_repeats_nothing_of_the_text():
    for text in ("I need a namespace 'docs-staging' with password hunter2", "hunter2 hunter2", "I need hunter2"):
        assert "hunter2" not in parse(text).model_dump_json()


# -- blocks

DEPLOY = {"action": "deploy", "app": "docs", "version": "0.13.4"}


def block(value, fence="```"):
    return f"{fence}infra\n{value if isinstance(value, str) else json.dumps(value, indent=1)}\n{fence}"


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (DEPLOY, Understood(action=Deploy(app="docs", version="0.13.4"))),
        (DEPLOY | {"on_failure": "hold"}, Understood(action=Deploy(app="docs", version="0.13.4", on_failure="hold"))),
        (
            DEPLOY | {"reason": "because", "idempotency_key": "ci/7", "dry_run": True},
            Understood(
                action=Deploy(app="docs", version="0.13.4"), reason="because", idempotency_key="ci/7", dry_run=True
            ),
        ),
        ({"action": "provision_namespace", "namespace": "docs-staging"}, Understood(action=space())),
        (
            {
                "action": "provision_namespace",
                "namespace": "docs-staging",
                "pull_secrets": ["X"],
                "labels": {"a": "b"},
                "quota": {"cpu": "4", "pods": 20},
                "limits": None,
                "default_deny": True,
                "owner": "docs",
                "cluster": "sandbox",
            },
            Understood(
                action=space(
                    pull_secrets=("X",),
                    labels={"a": "b"},
                    quota=Quota(cpu="4", pods=20),
                    default_deny=True,
                    owner="docs",
                    cluster="sandbox",
                )
            ),
        ),
    ],
)
def test_a_block_becomes_exactly_that_action(value, understood):
    assert parse(block(value)) == understood


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    "text",
    [
        f"Hello infra,\n\nplease do this, and delete nothing:\n\n{block(DEPLOY)}\n\nThanks, I need a namespace 'a-b'",
        f"```yaml\na: b\n```\n{block(DEPLOY)}\n```\nthe end\n```",
        block(DEPLOY, "~~~"),
        block(DEPLOY, "`````"),
        block(DEPLOY).replace("```infra", "  ``` infra  ").replace("\n```", "\n  ```  "),
        block(DEPLOY).replace("\n", "\r\n"),
        block(json.dumps(DEPLOY)),
        f"```infra {json.dumps(DEPLOY)} ```",
        f"```INFRA\n{json.dumps(DEPLOY)}\n```",
        f"````markdown\n{block({'action': 'deploy', 'app': 'other', 'version': '1'})}\n````\n{block(DEPLOY)}",
    ],
    ids=range(10),
)
def test_text_round_a_block_is_only_text(text):
    assert parse(text) == Understood(action=Deploy(app="docs", version="0.13.4"))


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    "text",
    [
        block(DEPLOY) + "\n" + block(DEPLOY),
        block(DEPLOY) + "\n```infra\n",
        block(DEPLOY)[:-3],
        "```infra\n```",
        f"````markdown\n{block(DEPLOY)}\n````",
        f"> {block(DEPLOY)}",
        block(DEPLOY).replace("infra", "infrared"),
        block(DEPLOY).replace("infra", "json"),
        block(DEPLOY).replace("infra", "infra json"),
        json.dumps(DEPLOY),
        f"`{json.dumps(DEPLOY)}`",
        block([DEPLOY]),
        block("null"),
        block("{'action': 'deploy'}"),
        block(json.dumps(DEPLOY) + " x"),
        block(json.dumps(DEPLOY) * 2),
        block("{}"),
        block({"action": "delete_everything"}),
        block({"action": ["deploy"]}),
        block(DEPLOY | {"app": None}),
        block({"action": "deploy", "app": "docs"}),
        block(DEPLOY | {"version": 1.2}),
        block(DEPLOY | {"dry_run": "true"}),
        block(DEPLOY | {"dry_run": 1}),
        block(DEPLOY | {"dry_run": None}),
        block(DEPLOY | {"idempotency_key": "a b"}),
        block(DEPLOY | {"reason": "x" * 1001}),
        block(DEPLOY | {"app": "x" * 70_000}),
        block({"action": "provision_namespace", "namespace": "a", "quota": {"pods": 1.0}}),
        block({"action": "provision_namespace", "namespace": "a", "quota": {"pods": 2**63}}),
        block('{"action": "provision_namespace", "namespace": "a", "quota": {"pods": NaN}}'),
        block('{"action": "provision_namespace", "namespace": "a", "quota": {"pods": ' + "9" * 5000 + "}}"),
        block('{"action": "provision_namespace", "namespace": "a\ud800"}'),
        block(DEPLOY | {"reason": "\ud800"}),
        block("[" * 20_000 + "]" * 20_000),
        block('{"a":' * 5_000 + "1" + "}" * 5_000),
        block("\ufeff" + json.dumps(DEPLOY)),
    ],
    ids=range(37),
)
def test_a_block_that_is_not_exactly_an_action_is_nothing(text):
    assert isinstance(parse(text), NotUnderstood)


@pytest.mark.promise("intent.fenced-json", "intake.typed")
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (DEPLOY | {"dryRun": True}, "dryRun"),
        (DEPLOY | {"context": "x"}, "context"),
        (DEPLOY | {"namespace": "x"}, "namespace"),
        ({"action": "provision_namespace", "namespace": "a", "quota": {"cpus": "4"}}, "quota.cpus"),
    ],
)
def test_a_field_an_action_does_not_have_is_refused_by_name(value, names):
    answer = parse(block(value))
    assert answer.code == "unknown-argument"
    assert f": {names}." in answer.reason
    assert "There are: action, " in answer.reason
    assert answer.nearest


def test_a_field_that_stands_twice_is_refused_by_name():
    answer = parse(block('{"action": "deploy", "app": "docs", "version": "1", "version": "2"}'))
    assert answer == NotUnderstood(reason="The field version stands twice in the infra block.", code="invalid-argument")
    inner = '{"action": "provision_namespace", "namespace": "a", "quota": {"cpu": "1", "cpu": "2"}}'
    assert "field cpu stands twice" in parse(block(inner)).reason


def test_ten_thousand_fields_are_refused():
    answer = parse(block("{" + ",".join(f'"{i}":1' for i in range(6_000)) + "}"))
    assert "more than 1000 fields" in answer.reason
    answer = parse(block("{" + ",".join(f'"{i}":1' for i in range(10_000)) + "}"))
    assert isinstance(answer, NotUnderstood)


def test_how_many_blocks_there_may_be_is_told():
    assert "2 infra blocks" in parse(block(DEPLOY) + "\n\n" + block(DEPLOY)).reason


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "value",
    [
        DEPLOY | {"version": "hunter2 IS SECRET"},
        DEPLOY | {"app": {"hunter2 IS": "SECRET"}},
        DEPLOY | {"hunter2 IS SECRET": 1},
        DEPLOY | {"action": "hunter2"},
        DEPLOY | {"idempotency_key": "hunter2 IS"},
        {"action": "provision_namespace", "namespace": "a", "labels": {"hunter2 IS": "x"}},
        {"action": "provision_namespace", "namespace": "a", "labels": {"a": "hunter2 IS"}},
        {"action": "provision_namespace", "namespace": "hunter2 IS"},
        "hunter2",
        '{"hunter2 IS": 1, "hunter2 IS": 2}',
    ],
    ids=range(10),
)
def test_no_value_of_a_block_is_repeated(value):
    answer = parse(block(value))
    assert isinstance(answer, NotUnderstood)
    assert "hunter2" not in answer.model_dump_json()


@pytest.mark.promise("intent.fenced-json")
@given(
    st.fixed_dictionaries(
        {"namespace": st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)},
        optional={
            "pull_secrets": st.lists(st.sampled_from(["X", "Y", "z-1"]), max_size=3),
            "labels": st.dictionaries(st.sampled_from(["a", "b", "c.d/e"]), st.sampled_from(["", "x", "Y.z"])),
            "default_deny": st.booleans(),
            "quota": st.fixed_dictionaries({}, optional={"cpu": st.just("4"), "pods": st.integers(1, 10_000)}),
        },
    ),
    st.text(st.characters(exclude_characters="`~", exclude_categories=["Cs"]), max_size=60),
)
def test_every_valid_action_comes_back_as_itself_whatever_stands_round_it(fields, text):
    understood = parse(f"{text}\n{block({'action': 'provision_namespace'} | fields)}\n{text}")
    wanted = ProvisionNamespace.model_validate_json(json.dumps(fields))
    assert understood == Understood(action=wanted)
