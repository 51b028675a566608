"""What must be masked never comes through; what is no secret does."""

import base64
import string

import pytest
from fake_secrets import HARMLESS, KEY, MASKER, TOKENS
from hypothesis import example, given
from hypothesis import strategies as st

from infra_mcp.ledger.ids import ask_id, request_id
from infra_mcp.masking import RULES, Masker
from infra_mcp.model.digest import digest, keyed

# Forms that make a value a secret by what stands around it. `{}` is the value.
FORMS = {
    "user and password in a URL": ["postgres://app:{}@db.example:5432/x", "https://:{}@h", "redis://u:{}@h"],
    "token as user in a URL": ["https://{}@git.example/x.git"],
    "authorization header": [
        "Authorization: Bearer {}",
        "authorization: token {}",
        '"Authorization": "Basic {}"',
        "-H 'Authorization: Bearer {}'",
        "Authorization={}",
    ],
    "bearer token": ["curl with Bearer {}"],
    "Slack webhook": ["https://hooks.slack.com/services/{}"],
    "Azure signature": ["https://x.blob.example/c?sv=1&sig={}", "https://x.blob.example/c?sig={}&sv=1"],
    "password option": [
        "kubectl create secret docker-registry x --docker-password {}",
        "kubectl create secret generic x --from-literal=pw={}",
        "docker login -u robot -p {} registry.example",
        "curl -s -u robot:{} https://x",
        "tool --api-key {}",
    ],
    "password in a sentence": ["the password is {}", "My token was {} yesterday", "the password is {}."],
    "value of a named variable": [
        "- name: DB_PASSWORD\n  value: {}\n",
        '{{"name": "REGISTRY_TOKEN", "value": "{}"}}',
        "- name: API_KEY\n+ value: '{}'",
    ],
    "value of a named item": [
        """docs.spec.env[name="DB_PASSWORD"].value: git 'x', live '{}'""",
        """.env[name="API_TOKEN"].value: '{}' → absent""",
        '{{"drift": [".env[name=\\"API_TOKEN\\"].value: not in git, live {}"]}}',
    ],
    "line of YAML": ["password: {}", "  db-password: {}\n  x: y", "+  apiKey: {}"],
    "assignment": [
        "password={}",
        "PASSWORD = {}",
        "DB_PASSWORD={} ./run",
        "token: {}",
        "registry-token={}",
        "X-Api-Key: {}",
        "aws_secret_access_key = {}",
        "AccountKey={};EndpointSuffix=x",
        "client_secret='{}'",
        'passwd: "{}"',
        "secret={}",
        "db_secret: {}",
        "passphrase := {}",
        '"password":"{}"',
        "{{'password': '{}'}}",
        '{{\\"password\\": \\"{}\\"}}',
        '{{\\\\\\"token\\\\\\":\\\\\\"{}\\\\\\"}}',
        "password: |\n  {}\nnext: x",
        "https://x/?token={}&page=2",
        ".dockerconfigjson: {}",
        "Password=`{}`",
    ],
    "auth in JSON": ['{{"auths": {{"registry.example": {{"auth": "{}"}}}}}}'],
}
VALUES = ["hunter2-IS-SECRET", "aB3dE5fG7hI9jK", "p@ss,w0rd;x", "7f3c9a1b2d4e6f80a1b2"]
# A value with such characters is quoted in a URL.
CALLED_SECRET = [
    (form, value)
    for forms in FORMS.values()
    for form in forms
    for value in VALUES
    if not ("@" in value and "//" in form)
]
WORDS = st.sampled_from(
    ["docs", "namespace", "docs-staging", "I need", "\n", ",", ".", "image", "secret X", "", '"', "  ", "{"]
)


def test_every_rule_has_an_example_here():
    assert {rule.name for rule in RULES} - set(TOKENS) - set(FORMS) == {"basic credentials"}


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(("name", "secret"), [(name, secret) for name, secrets in TOKENS.items() for secret in secrets])
def test_a_token_is_hidden_whatever_stands_around_it(name, secret):
    alone = next(rule for rule in RULES if rule.name == name)
    assert alone.pattern.search(secret), "another rule hid it"
    for around in (
        "{}",
        "see {} there",
        "'{}'",
        '"{}"',
        "x={}",
        "({})",
        "{},",
        "<{}>",
        "a/{}/b",
        "line\n{}\nline",
        "é{}é",
    ):
        assert secret not in MASKER.mask(around.format(secret))
        assert "[masked:" in MASKER.mask(around.format(secret))


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(("form", "value"), CALLED_SECRET)
def test_a_value_that_is_called_a_secret_is_hidden(form, value):
    masked = MASKER.mask(form.format(value))
    assert value not in masked
    assert "[masked:" in masked


@given(
    secret=st.sampled_from([secret for secrets in TOKENS.values() for secret in secrets]),
    before=st.lists(WORDS, max_size=4),
    after=st.lists(WORDS, max_size=4),
)
def test_a_token_never_survives_in_any_text(secret, before, after):
    text = " ".join([*before, secret, *after])
    assert secret not in MASKER.mask(text)


@given(
    form=st.sampled_from([form for forms in FORMS.values() for form in forms]),
    value=st.text(string.ascii_letters + string.digits, min_size=8, max_size=40).filter(lambda v: not v.isalpha()),
    before=st.lists(WORDS, max_size=3),
    after=st.lists(WORDS, max_size=3),
)
def test_a_value_called_a_secret_never_survives_in_any_text(form, value, before, after):
    text = "\n".join([" ".join(before), form.format(value), " ".join(after)])
    assert value not in MASKER.mask(text)


def test_basic_credentials_are_hidden_and_the_word_basic_is_not():
    given_out = base64.b64encode(b"robot:hunter2").decode()
    assert given_out not in MASKER.mask(f"it sends Basic {given_out} along")
    for text in ("basic configuration", "Basic authentication is off", "bearer of news", "Bearer authentication"):
        assert MASKER.mask(text) == text


def test_the_data_of_a_secret_is_hidden_whatever_its_keys_are_called():
    head = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: registry-x\ndata:\n"
    manifest = head + "  innocent: aHVudGVyMg==\n  other: eA==\ntype: Opaque\n"
    masked = MASKER.mask(manifest)
    assert "aHVudGVyMg" not in masked
    assert "eA==" not in masked
    assert masked.startswith(head)
    assert masked.endswith("\ntype: Opaque\n")
    assert "hunter2" not in MASKER.mask('{"kind":"Secret","stringData":{"innocent":"hunter2"}}')
    config = manifest.replace("Secret", "ConfigMap")
    assert MASKER.mask(config) == config


@pytest.mark.promise("intake.verbatim")
@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_secrets_stays(text):
    assert MASKER.mask(text) == text


@given(
    st.binary(max_size=40),
    st.sampled_from(["{}", "image x@{}", "commit {} on main", "plan {}, head {}", "({})", "'{}'"]),
)
def test_digests_and_ids_stay(content, around):
    hexes = digest(content.hex()).removeprefix("sha256:")
    for one in (f"sha256:{hexes}", hexes, hexes[:40], hexes[:12], keyed(KEY, content), request_id(), ask_id()):
        text = around.replace("{}", one)
        assert MASKER.mask(text) == text


TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.one_of(
            st.sampled_from([form.format(value) for forms in FORMS.values() for form in forms for value in VALUES[:2]]),
            st.sampled_from([secret for secrets in TOKENS.values() for secret in secrets]),
            st.sampled_from(
                [
                    "password",
                    "token",
                    "=",
                    ": ",
                    '"',
                    "\\",
                    "\n",
                    " ",
                    "[masked:01234567]",
                    "name: TOKEN\n",
                    "value:",
                    ",",
                    "|",
                    "x",
                ]
            ),
        ),
        max_size=8,
    ).map("".join),
)


@given(TEXTS)
@example("token: [masked:01234567], next")
@example("AKIA0000000000000000" * 2)
@example("password=[masked:01234567]hunter2")
def test_masking_twice_changes_nothing(text):
    once = MASKER.mask(text)
    assert MASKER.mask(once) == once


@pytest.mark.promise("secrets.nowhere")
@given(st.lists(TEXTS, min_size=1, max_size=5), st.lists(st.text(min_size=6, max_size=20), max_size=3))
@example(["the rope is 30 m long", "x hunter22 y"], ["hunter22", "rope is"])
def test_what_was_found_clean_before_is_masked_like_what_was_never_seen(texts, secrets):
    seen = Masker(KEY)
    texts += [f"{before} {secret}" for before in texts[:1] for secret in secrets]
    for learned in range(len(secrets) + 1):
        fresh = Masker(KEY)
        for secret in secrets[:learned]:
            fresh.learn(secret)
        if learned:
            seen.learn(secrets[learned - 1])
        for _ in range(2):
            assert [seen.mask(text) for text in texts] == [fresh._masked(text) for text in texts]
            assert seen.mask_json({"texts": texts}) == fresh.mask_json({"texts": texts})


@pytest.mark.promise("secrets.nowhere")
def test_a_text_found_clean_while_a_secret_in_it_was_learned_is_not_taken_for_clean_later(monkeypatch):
    masker, text = Masker(KEY), "the rope is 30 m long"
    with monkeypatch.context() as patch:
        patch.setattr(masker, "_pass", lambda _: masker.learn("rope is 30") or text)  # as another thread would
        assert masker.mask(text) == text
    assert "rope" not in masker.mask(text)


def test_the_texts_remembered_as_clean_are_bounded_and_contain_no_secret(monkeypatch):
    monkeypatch.setattr("infra_mcp.masking._MAX_CLEAN_TEXTS", 10)
    masker = Masker(KEY)
    for number in range(100):
        masker.mask(f"build {number}")
        masker.mask(f"password=hunter{number}")
        masker.mask("x" * (1_000 + number))
    assert 0 < len(masker._clean) <= 10
    assert not any("hunter" in text or len(text) > 300 for text in masker._clean)


def test_a_marker_in_front_does_not_let_a_secret_through():
    assert "hunter2" not in MASKER.mask("password=[masked:01234567]hunter2")


def test_equal_secrets_show_equal_and_only_under_the_same_key():
    first, second = (MASKER.mask(form).rpartition("[")[2] for form in ("password=hunter2", '{"token": "hunter2"}'))
    assert first.partition("]")[0] == second.partition("]")[0]
    assert MASKER.mask("password=hunter2") != MASKER.mask("password=hunter3")
    assert MASKER.mask("password=hunter2") != Masker(b"x" * 32).mask("password=hunter2")
