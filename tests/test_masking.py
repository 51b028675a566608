"""What must be masked never comes through; what is no secret does."""

import base64
import json
import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra_mcp.ledger.ids import ask_id, request_id
from infra_mcp.masking import RULES, Masker
from infra_mcp.model.digest import canonical, digest, keyed

KEY = b"k" * 32
MASKER = Masker(KEY)
RANDOM = random.Random(7)  # made-up secrets, the same in every run


def made(length, letters=string.ascii_letters + string.digits):
    return "".join(RANDOM.choice(letters) for _ in range(length))


def jwt():
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"system:serviceaccount:a:b"}').decode().rstrip("=")
    return f"{header}.{body}.{made(43)}"


def pem(kind="RSA PRIVATE KEY"):
    lines = "\n".join(made(64) for _ in range(6))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


DOCKER = json.dumps(
    {
        "auths": {
            "registry.example": {
                "username": "robot",
                "password": "pw-7Hq2",
                "auth": base64.b64encode(b"robot:pw-7Hq2").decode(),
            }
        }
    }
)
# Rule -> secrets that it is there for; each is hidden wherever it stands.
TOKENS = {
    "private key": [
        pem(),
        pem("PRIVATE KEY"),
        pem("EC PRIVATE KEY"),
        pem("OPENSSH PRIVATE KEY"),
        pem("PGP PRIVATE KEY BLOCK"),
    ],
    "age key": ["AGE-SECRET-KEY-1" + made(58, string.ascii_uppercase + string.digits)],
    "infra-mcp token": ["imcp_" + made(43, string.ascii_letters + string.digits + "-_")],
    "GitHub token": [f"gh{kind}_{made(36)}" for kind in "pousr"] + [f"github_pat_{made(22)}_{made(59)}"],
    "GitLab token": [f"glpat-{made(20)}", f"gldt-{made(20)}", f"glrt-{made(20)}"],
    "Slack token": [f"xoxb-1234567890-{made(24)}", f"xapp-1-{made(20)}", f"xoxe.xoxp-1-{made(40)}"],
    "AWS access key": ["AKIA" + made(16, string.ascii_uppercase + string.digits)],
    "Google key": ["AIza" + made(35), "ya29." + made(60), "GOCSPX-" + made(28)],
    "Docker token": ["dckr_pat_" + made(27)],
    "docker config": [base64.b64encode(DOCKER.replace('": {', '":{').encode()).decode()],
    "DigitalOcean token": ["dop_v1_" + made(64, "0123456789abcdef")],
    "Vault token": ["hvs." + made(90)],
    "Terraform token": [f"{made(14)}.atlasv1.{made(60)}"],
    "package index token": ["npm_" + made(36), "pypi-AgEIcHlwaS5vcmc" + made(60)],
    "model provider key": [f"sk-ant-api03-{made(80)}", f"sk-proj-{made(20)}9{made(20)}", "hf_" + made(34)],
    "payment key": ["sk_live_" + made(24)],
    "Grafana token": [f"glsa_{made(32)}_{made(8)}"],
    "JSON web token": [jwt() for _ in range(3)],
}
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


HARMLESS = [
    "I need a namespace 'docs-staging' with image-pull secret X",
    "please create namespace docs-staging with pull-secret: X and image-pull secrets Y and Z",
    "imagePullSecrets:\n- name: registry-x",
    "infra-mcp.dev/pull-secrets: X",
    'secrets "registry-x" is forbidden: User "system:serviceaccount:infra-mcp:circle-docs" cannot get',
    "docs-staging/secret/registry-x",
    "automountServiceAccountToken: false",
    "secretName: registry-x\nsecretKeyRef:\n  name: db\n  key: uri",
    'strength = "token"\nby = "operator"',
    '[pull_secrets.X]\nfrom = "infra-secrets/registry-x"\nname = "registry-x"',
    "registry.example/docs/site@sha256:" + "0f" * 32,
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "ssh://git@git.example/infra.git and git@git.example:infra.git",
    "http://localhost:8080/path?x=a@b",
    "the password is required",
    "the token is not valid",
    "kubernetes.io/dockerconfigjson",
    "config.keyStore.example.org",
    "sk-learn and task-force-one-two-three-four",
    "12:30 error: namespace: docs",
    "\u202eé\0\n\t",
    "",
]


@pytest.mark.promise("intake.verbatim")
@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
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


def test_what_is_remembered_as_clean_is_bounded_and_no_secret(monkeypatch):
    monkeypatch.setattr("infra_mcp.masking._MOST_KEPT", 10)
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


# -- what it was told


@pytest.mark.promise("secrets.nowhere")
@given(
    st.text(min_size=6, max_size=60).filter(lambda v: len(v.encode().strip()) >= 6),
    st.binary(max_size=5),
    st.binary(max_size=5),
)
def test_a_known_secret_is_hidden_in_every_form_it_can_take(secret, before, after):
    masker = Masker(KEY)
    masker.learn(secret)
    raw = secret.encode().strip()
    known = raw.decode()
    assert known not in masker.mask(f"see {known} there")
    assert json.dumps(known)[1:-1] not in masker.mask(json.dumps({"a": known}))
    encoded = base64.b64encode(before + raw + after).decode()
    core = base64.b64encode(raw[: len(raw) // 3 * 3]).decode()
    shown = masker.mask(f"see {encoded} there")
    assert len(core) < 12 or "[masked:" in shown
    if len(before) % 3 == 0 and len(core) >= 8:
        assert core not in shown


@pytest.mark.promise("secrets.nowhere")
def test_the_passwords_inside_a_known_docker_config_are_known():
    masker = Masker(KEY)
    masker.learn(DOCKER.encode())
    for leak in (
        "pw-7Hq2",
        base64.b64encode(b"robot:pw-7Hq2").decode(),
        DOCKER,
        base64.b64encode(DOCKER.encode()).decode(),
    ):
        assert leak not in masker.mask(f"error: {leak} at registry.example")
    assert masker.mask("robot at registry.example") == "robot at registry.example"


def test_a_known_secret_of_several_lines_is_hidden_when_it_is_indented():
    masker, lines = Masker(KEY), [made(64), made(64), made(64)]
    masker.learn("\n".join(lines))
    shown = masker.mask("\n".join(f"    {line}" for line in lines))
    assert not any(line in shown for line in lines)


def test_a_known_value_that_is_nearly_nothing_does_not_hide_words():
    masker = Masker(KEY)
    for value in ("", " ", "a", "docs", "     "):
        masker.learn(value)
    masker.learn(b"\xff\xfe\xfd")
    assert masker.mask("docs is a namespace") == "docs is a namespace"


def test_a_binary_secret_is_known_by_its_base64():
    masker, secret = Masker(KEY), bytes(range(200, 240))
    masker.learn(secret)
    assert base64.b64encode(secret).decode() not in masker.mask(f"data: {base64.b64encode(secret).decode()}")


# -- JSON

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=12), st.sampled_from(HARMLESS)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


def shape(value):
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@given(JSON)
def test_json_keeps_its_shape(value):
    masked = MASKER.mask_json(value)
    assert MASKER.mask_json(masked) == masked
    if b"[masked" not in canonical_or_empty(masked):
        assert masked == value
        assert shape(masked) == shape(value)


def canonical_or_empty(value):
    try:
        return canonical(value)
    except UnicodeEncodeError:
        return b"[masked"


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"outer": [{"db_password": "hunter2"}]},
        {"API_TOKEN": "hunter2"},
        {"auth": "hunter2"},
        {".dockerconfigjson": "hunter2"},
        {"name": "DB_PASSWORD", "value": "hunter2"},
        {"value": "hunter2", "name": "DB_PASSWORD"},
        {"kind": "Secret", "data": {"innocent": "hunter2"}},
        {"kind": "Secret", "stringData": {"innocent": {"deep": ["hunter2"]}}},
        {"path": ["stringData", "password"], "before": "hunter2", "after": "x"},
        {"field": ["env", {"name": "DB_PASSWORD"}, "value"], "before": "x", "after": {"a": "hunter2"}},
        {"text": "password=hunter2"},
        {"password=hunter2": 1},
        ["token: hunter2"],
        ({"password": "hunter2"},),
        "password=hunter2",
        {"password": "true hunter2"},
    ],
    ids=str,
)
def test_what_a_name_in_json_calls_secret_is_hidden(value):
    masked = MASKER.mask_json(value)
    assert "hunter2" not in json.dumps(masked)
    assert "[masked:" in json.dumps(masked)
    assert type(masked) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        {"action": "provision_namespace", "namespace": "docs-staging", "pull_secrets": ["X"], "cluster": None},
        {"kind": "Secret", "name": "registry-x", "namespace": "docs-staging"},
        {"path": ["data", ".dockerconfigjson"], "before": None, "after": keyed(KEY, b"x")},
        {"password": keyed(KEY, b"x")},
        {"token": True, "secret": None, "password": ""},
        {"name": "registry-token", "uid": "1"},
        {"field": ".spec.replicas", "manager": "kubectl"},
        {"pull_secret": "X", "image-pull-secret": "X"},
        {"audit_head": "ab" * 32, "effect_digest": "sha256:" + "ab" * 32, "idempotency_key": "k-1"},
    ],
    ids=str,
)
def test_what_is_no_secret_stays_in_json(value):
    assert MASKER.mask_json(value) == value


def test_a_number_called_a_secret_is_hidden():
    assert MASKER.mask_json({"password": 271828})["password"].startswith("[masked:")
    assert "271828" not in MASKER.mask('{"password":271828,"x":1}')


# -- time

SLOW = [
    "a",
    "token ",
    "password",
    "password='",
    'token:\\"',
    "eyJ-",
    "eyJ.",
    "eyJa.eyJb.",
    "://a",
    "://a:",
    "https://a@",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "kind: Secret data:{",
    "kind: Secret\ndata:\n",
    "\n \n",
    "name: TOKEN\n",
    '{"name":"TOKEN",',
    "curl -u ",
    "docker login ",
    "--password",
    "authorization:",
    "bearer ",
    "basic aaaa ",
    "password: |\n \n",
    "-sk-",
    "\\",
    "[masked:01234567]",
    "password=[masked:01234567]",
    ".atlasv1.",
    "a.",
    "\U0001f989",
]


@pytest.mark.timeout(120)  # each takes a second or two; a rule that backtracks would take days
@pytest.mark.parametrize("piece", SLOW)
def test_a_large_text_made_to_be_slow_is_not(piece):
    text = "secret kind: Secret eyJ token " + piece * (250_000 // len(piece))
    assert MASKER.mask(text)


@pytest.mark.timeout(120)
def test_a_megabyte_of_log_is_masked_in_one_go():
    line = "2026-11-22T10:00:00Z docs-live/docs: GET /page?id=7 200 from 10.0.0.7, image sha256:0f0f0f token accepted\n"
    text = line * (1_000_000 // len(line)) + "password=hunter2\n"
    masked = MASKER.mask(text)
    assert masked.startswith(text[:-17])
    assert "hunter2" not in masked
