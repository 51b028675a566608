"""Callers by tokens that an issuer of policy signed, against a real issuer on loopback whose keys are rotated."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from types import SimpleNamespace

import httpx2
import jwt
import pytest
from hosts import MODERN
from ledger_template import open_new
from mcp.client.auth.utils import extract_field_from_www_auth, extract_resource_metadata_from_www_auth
from oidc_issuer import issuer, policy_of, private_key, public_key
from running_server import POLICY, running_server

from infra_mcp.clients.oidc import AGAIN, FRESH, IssuerKeys, Place
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller, Identity
from infra_mcp.policy.oidc import is_safe
from infra_mcp.policy.policy import load
from infra_mcp.server.oidc import SKEW, OidcTokens
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio
NOW = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/list",
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}}


class Ground:
    """An issuer, a policy that takes its tokens, and a ledger with the peer they stand for."""

    def __init__(self, made, ledger):
        self.issuer = made
        self.ledger = ledger
        self.text = POLICY + policy_of(made)
        self.tokens = OidcTokens(SimpleNamespace(ledger=ledger, policy=self))

    def current(self):
        return load(self.text)

    async def caller(self, token):
        return await self.tokens.caller(token)

    async def refusal(self, token):
        with pytest.raises(InfraError) as caught:
            await self.caller(token)
        assert token not in str(caught.value)
        return caught.value


@pytest.fixture
async def at(tmp_path, anyio_backend):  # noqa: ARG001 - the loop the fixture runs on
    ledger = await open_new(tmp_path / "state")
    await ledger.add_peer("docs", "docs")
    with issuer() as made:
        yield Ground(made, ledger)
    await ledger.aclose()


def part(value):
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.promise("auth.oidc", "token.sponsor")
async def test_a_job_of_github_is_the_peer_that_policy_names_and_its_actor_answers_for_it(at):
    found = await at.caller(at.issuer.token(at.issuer.github()))

    subject = "repo:acme/docs:environment:production"
    identity = Identity(issuer=at.issuer.url, subject=subject, run="9876543210")
    assert found == Caller(name="docs", circle="docs", strength="oidc", sponsor="octocat", identity=identity)
    assert at.issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.promise("auth.oidc", "token.sponsor")
async def test_a_job_of_gitlab_is_the_peer_that_policy_names_and_its_user_answers_for_it(at):
    at.text = at.text.replace('sponsor = "actor"', 'sponsor = "user_login"').replace('"run_id"', '"pipeline_id"')
    at.text = at.text.split("claims = { repository")[0]
    at.text += 'claims = { project_path = "acme/docs", ref_type = "branch", ref = "main", ref_protected = "true" }\n'

    found = await at.caller(at.issuer.token(at.issuer.gitlab()))

    assert (found.name, found.sponsor, found.identity.run) == ("docs", "sample-user", "574")
    for changed in ({"ref_protected": "false"}, {"ref": "other"}, {"project_path": "acme/docs2"}):
        assert (await at.refusal(at.issuer.token(at.issuer.gitlab(**changed)))).code == "unauthenticated"


@pytest.mark.promise("auth.oidc")
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://token.actions.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "https://github.com/acme"}, "audience"),
        ({"aud": "infra-mcp2"}, "audience"),
        ({"aud": ["other"]}, "audience"),
        ({"aud": None}, "no claim aud"),
        ({"exp": None}, "no claim exp"),
        ({"iat": None}, "no claim iat"),
        ({"sub": None}, "no claim sub"),
        ({"actor": None}, "actor"),
        ({"actor": ""}, "actor"),
        ({"actor": "a\u202eb"}, "actor"),
        ({"run_id": None}, "run_id"),
        ({"iat": time.time() + SKEW + 600}, "later time"),
        ({"nbf": time.time() + SKEW + 600}, "later time"),
        ({"exp": "soon"}, "wrong form"),
        ({"repository": "acme/docs-evil"}, "claims"),
        ({"repository": "evil/acme/docs"}, "claims"),
        ({"repository": None}, "claims"),
        ({"repository": ["acme/docs"]}, "claims"),
        ({"ref": "refs/pull/1/merge"}, "claims"),
        ({"ref": "refs/heads/a/b"}, "claims"),
        ({"environment": None}, "claims"),
    ],
)
async def test_a_token_with_a_wrong_or_missing_claim_is_refused_and_the_refusal_names_it(at, changed, why):
    error = await at.refusal(at.issuer.token(at.issuer.github(**changed)))

    assert error.code == "unauthenticated"
    assert why in error.what


@pytest.mark.promise("auth.oidc")
async def test_an_expired_token_is_refused_and_clocks_may_differ_by_half_a_minute(at):
    now = int(time.time())
    for changed in ({"exp": now - SKEW + 20}, {"iat": now + SKEW - 20}, {"nbf": now + SKEW - 20}):
        assert (await at.caller(at.issuer.token(at.issuer.github(**changed)))).name == "docs"

    error = await at.refusal(at.issuer.token(at.issuer.github(exp=now - SKEW - 1)))

    assert (error.code, int(error.exit)) == ("token-expired", 3)


@pytest.mark.promise("auth.oidc")
async def test_a_signature_by_no_key_of_the_issuer_or_by_another_algorithm_is_refused(at):
    claims = at.issuer.github()
    pem = json.dumps(public_key("one")).encode()
    signed = f"{part({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{part(claims)}"
    by_public_key = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    good = at.issuer.token(claims)
    head, _, signature = good.split(".")
    wrong = {
        "none": f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims)}.",
        "the public key as a secret": f"{signed}.{base64.urlsafe_b64encode(by_public_key).rstrip(b'=').decode()}",
        "another algorithm": jwt.encode(claims, private_key("one"), algorithm="RS512", headers={"kid": "one"}),
        "another's key": at.issuer.token(claims, key="evil"),
        "other claims": f"{head}.{part(claims | {'actor': 'eve'})}.{signature}",
        "no signature": f"{head}.{good.split('.')[1]}.",
        "no key named": at.issuer.token(claims, kid=None),
        "an unknown key": at.issuer.token(claims, kid="none of its keys"),
        "no JSON": "a.b.c",
        "empty": "..",
    }
    for what, token in wrong.items():
        assert (await at.refusal(token)).code == "unauthenticated", what
    assert (await at.caller(good)).name == "docs"


@pytest.mark.promise("auth.oidc")
async def test_no_address_in_a_token_is_read(at):
    with issuer() as evil:
        evil.keys = [public_key("evil")]
        header = {"jku": f"{evil.url}/keys", "x5u": f"{evil.url}/keys", "jwk": public_key("evil")}
        for claims in (at.issuer.github(), evil.github(), at.issuer.github(iss=evil.url)):
            token = evil.token(claims, kid="evil", key="evil", **header)
            assert (await at.refusal(token)).code == "unauthenticated"

        assert evil.asked == []


@pytest.mark.promise("auth.oidc")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/.well-known/openid-configuration", {"issuer": "https://other.example", "jwks_uri": "http://127.0.0.1/keys"}),
        ("/.well-known/openid-configuration", {"jwks_uri": "http://127.0.0.1/keys"}),
        ("/.well-known/openid-configuration", ["x"]),
        ("/.well-known/openid-configuration", None),
        ("/keys", {"keys": "x"}),
        ("/keys", {"keys": [{"kid": str(number)} for number in range(101)]}),
        ("/keys", None),
    ],
)
async def test_an_issuer_that_gives_no_keys_is_said_to_be_the_cause_and_nobody_gets_in(at, path, said):
    at.issuer.documents[path] = said

    error = await at.refusal(at.issuer.token(at.issuer.github()))

    assert (error.code, int(error.exit)) == ("issuer-unreachable", 6)
    assert at.issuer.url in error.what


@pytest.mark.promise("auth.oidc")
async def test_keys_that_are_no_public_keys_for_signatures_or_too_short_are_not_used(at):
    secret = {"kty": "oct", "kid": "one", "k": base64.urlsafe_b64encode(b"k" * 32).decode()}
    others = [public_key("one", use="enc"), public_key("one", alg="RS512"), public_key("short")]
    for given in (secret, *others):
        at.issuer.keys = [given]
        at.tokens = OidcTokens(SimpleNamespace(ledger=at.ledger, policy=at))
        with warnings.catch_warnings(action="ignore"):  # of the short key
            token = at.issuer.token(at.issuer.github(), kid=given["kid"], key=given["kid"])
        assert (await at.refusal(token)).code == "unauthenticated"


@pytest.mark.promise("auth.oidc")
async def test_a_new_key_is_found_a_withdrawn_one_ends_and_unknown_ones_do_not_make_us_ask_again_and_again():
    now = [0.0]
    with issuer() as made:
        keys = IssuerKeys(Place(made.url, f"{made.url}/keys", True, is_safe), clock=lambda: now[0])
        assert (await keys.key("one"))["kid"] == "one"
        made.keys = [public_key("two")]
        assert await keys.key("two") is None, "it was asked a moment ago"
        for _ in range(5):
            assert await keys.key("unknown") is None
        assert made.asked == ["/keys"]
        now[0] += AGAIN
        assert (await keys.key("two"))["kid"] == "two"
        assert await keys.key("one") is None, "the issuer has it no more"
        assert made.asked == ["/keys"] * 2
        made.keys = []
        now[0] += FRESH
        assert await keys.key("two") is None, "kept keys are looked at again after an hour"
        made.documents["/keys"] = None
        now[0] += FRESH
        for _ in range(2):
            with pytest.raises(InfraError, match="issuer-unreachable"):
                await keys.key("two")
        assert made.asked == ["/keys"] * 4


@pytest.mark.promise("auth.oidc")
async def test_a_peer_that_was_removed_or_never_added_is_not_called_into_being(at):
    token = at.issuer.token(at.issuer.github())
    await at.ledger.remove_peer("docs")

    error = await at.refusal(token)

    assert error.code == "unauthenticated"
    assert "infra-mcp peer add docs --circle docs --no-token" in error.next_step
    await at.ledger.add_peer("docs", "", operator=True)
    assert (await at.refusal(token)).code == "unauthenticated", "an operator is no such peer"
    assert [one.role for one in await at.ledger.peers()] == ["operator"]


@pytest.mark.promise("auth.oidc")
async def test_a_token_that_several_entries_fit_is_nobodys(at):
    at.text += '[[oidc.ci.peers]]\npeer = "shop"\ncircle = "shop"\nclaims = { repository_owner = "acme" }\n'

    assert "more than one entry" in (await at.refusal(at.issuer.token(at.issuer.github()))).what


async def test_without_an_issuer_in_policy_no_signed_token_is_looked_at(at):
    at.text = POLICY

    assert await at.caller(at.issuer.token(at.issuer.github())) is None
    assert at.issuer.asked == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('repository = "acme/docs", ', "", "whose the tokens are"),
        ('repository = "acme/docs"', 'repository = "*/docs"', "whose the tokens are"),
        ('repository = "acme/docs"', 'repository_owner = "acm*"', "whose the tokens are"),
        ('repository = "acme/docs"', 'sub = "repo:*/docs:environment:production"', "whose the tokens are"),
        ('sponsor = "actor"', 'algorithms = ["HS256"]\nsponsor = "actor"', "algorithms"),
        ('sponsor = "actor"', 'algorithms = ["none"]\nsponsor = "actor"', "algorithms"),
        ('sponsor = "actor"', 'algorithms = []\nsponsor = "actor"', "algorithms"),
        ('sponsor = "actor"\n', "", "sponsor"),
        ('audience = "infra-mcp"\n', "", "audience"),
        ('circle = "docs"\nclaims', 'circle = "nobody"\nclaims', "no circle of the policy"),
        ('issuer = "http://127.0.0.1', 'issuer = "http://issuer.example', "must be https"),
    ],
)
async def test_a_policy_that_would_take_other_peoples_tokens_is_refused(at, old, new, why):
    assert old in at.text
    with pytest.raises(InfraError, match=why):
        load(at.text.replace(old, new))


@pytest.mark.parametrize("claims", ['sub = "repo:acme/*:environment:production"', 'repository_id = "74"'])
async def test_an_owner_may_be_named_by_a_subject_or_by_an_id(at, claims):
    at.text = at.text.split("claims = { repository")[0] + f"claims = {{ {claims} }}\n"

    assert (await at.caller(at.issuer.token(at.issuer.github()))).name == "docs"
    others = at.issuer.github(sub="repo:acme/docs:x:environment:production", repository_id="740")
    assert (await at.refusal(at.issuer.token(others))).code == "unauthenticated"


@pytest.mark.promise("auth.oidc", "http.tokens")
async def test_over_http_the_answer_says_what_is_wrong_with_a_token_and_when_to_come_back(tmp_path):
    with issuer() as made:
        async with (
            running_server(tmp_path, "both", policy=POLICY + policy_of(made)) as at,
            httpx2.AsyncClient(timeout=30) as web,
        ):

            async def answer(token):
                return await web.post(at.url, json=LIST, headers=NOW | {"Authorization": f"Bearer {token}"})

            made.documents["/keys"] = {"keys": "none"}
            later = await answer(made.token(made.github()))
            made.documents.clear()
            at.service.credentials._oidc._keys.clear()  # else it asks again in half a minute
            good, wrong = made.token(made.github()), made.token(made.github(aud="https://github.com/acme"))
            at.tokens["job"] = good
            async with at.unix("job") as client:
                tools = [one.name for one in (await client.list_tools()).tools]
            answers = [await answer(good), await answer(wrong)]

            assert (later.status_code, later.json()["code"]) == (503, "issuer-unreachable")
            assert int(later.headers["retry-after"]) > 0
            assert [one.status_code for one in answers] == [200, 401]
            said = extract_field_from_www_auth(answers[1], "error_description")
            assert "audience than infra-mcp" in said
            assert extract_resource_metadata_from_www_auth(answers[1]).endswith("/oauth-protected-resource/mcp")
            assert wrong not in answers[1].text
            assert "deploy" in tools


@pytest.mark.promise("auth.oidc")
async def test_an_open_call_ends_with_the_peer_of_its_token(tmp_path):
    with issuer() as made:
        async with running_server(tmp_path, "unix", policy=POLICY + policy_of(made)) as at:
            at.tokens["job"] = made.token(made.github())
            async with at.unix("job") as client:
                before = await client.call_tool("status", {})
                await at.operator.call(OPERATOR, "operator/peer.remove", {"name": "docs"})
                after = await client.call_tool("status", {})

            assert (before.is_error, after.is_error) == (False, True)
            assert after.structured_content["code"] == "unauthenticated"
