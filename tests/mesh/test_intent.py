"""Text into an action: exactly that action, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.mesh.grammar import GRAMMAR, POLITE, SLOTS, tokens
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ContainerLimits, ProvisionNamespace, Quota


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
