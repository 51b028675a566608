"""Approvals by a signature: with a key that only its owner has, of this effect, while policy has the key."""

from datetime import timedelta

import pytest
from engine.ledger_fixture import DOCS, EFFECT, NEED, PAT
from ssh_keys import Key

from infra_mcp import statements
from infra_mcp.engine.approvals import check_covered, covers, scope, waiting_for
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import SIGNED, Signature
from infra_mcp.model.effect import Effect
from infra_mcp.model.peer import Caller
from infra_mcp.model.record import Record
from infra_mcp.model.request import State
from infra_mcp.policy.policy import Policy

pytestmark = [pytest.mark.anyio, pytest.mark.promise("approval.signed")]

SIGNED_NEED = NEED.model_copy(update={"strength": SIGNED})
HOST = Caller(name="operator", circle=None, strength="same-user", operator=True)
OTHER = "sha256:" + "f" * 64


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: Key(folder, name) for name in ("ann", "ann-new", "bob")}


@pytest.fixture
def policy(keys):
    return Policy(signers={"ann": (keys["ann"].public,), "bob": (keys["bob"].public,)})


def fingerprints(keys, **of):
    return {name: tuple(keys[one].fingerprint for one in given) for name, given in of.items()}


@pytest.fixture
async def waiting(ledger_fixture, keys):
    """A request that waits for one signed approval."""
    return await ledger_fixture.awaits(SIGNED_NEED, signers=fingerprints(keys, ann=["ann"], bob=["bob"]))


def signed(request, key, signer="ann", *, effect=EFFECT, until=None, namespace=statements.APPROVAL):
    text = statements.approval(request.id, effect, until or waiting_for(request).until)
    return Signature(signer=signer, text=key.sign(text, namespace))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_signature_by_a_key_of_the_policy_lets_the_request_go_on(ledger_fixture, tmp_path, kind):
    key = Key(tmp_path, "ann", kind)
    request = await ledger_fixture.awaits(SIGNED_NEED, signers={"ann": (key.fingerprint,)})
    policy = Policy(signers={"ann": (key.public,)})

    now, resumed = await ledger_fixture.decide(request, HOST, signature=signed(request, key), policy=policy)

    assert (now.state, resumed) == (State.QUEUED, True)
    (given,) = await ledger_fixture.ledger.approvals.of(request.id)
    assert (given.approver, given.strength, given.key) == ("ann", "signed", key.fingerprint)


async def test_the_signature_is_kept_in_the_trail_so_that_anyone_can_check_it(ledger_fixture, waiting, keys, policy):
    signature = signed(waiting, keys["ann"])
    await ledger_fixture.decide(waiting, HOST, signature=signature, policy=policy)

    (event,) = [one for one in await ledger_fixture.ledger.trail(waiting.id) if one.kind == "approved"]
    assert (event.data["signature"], event.data["key"]) == (signature.text, keys["ann"].fingerprint)
    report = await ledger_fixture.ledger.verify(())
    assert (report.consistent, report.differing) == (True, ())


async def test_an_approval_without_a_signature_is_too_weak(ledger_fixture, waiting, policy):
    now, resumed = await ledger_fixture.decide(waiting, PAT, policy=policy)

    assert (now.state, resumed) == (State.AWAITING_APPROVAL, False)


FORGED = {
    "another effect": lambda request, keys: signed(request, keys["ann"], effect=OTHER),
    "another time": lambda request, keys: signed(request, keys["ann"], until="2030-01-01T00:00:00+00:00"),
    "another use": lambda request, keys: signed(request, keys["ann"], namespace="git"),
    "a key of someone else": lambda request, keys: signed(request, keys["bob"], "ann"),
    "a key that the policy does not have": lambda request, keys: signed(request, keys["ann-new"]),
    "a signer that the policy does not have": lambda request, keys: signed(request, keys["ann"], "eve"),
    "another request": lambda request, keys: signed(request.model_copy(update={"id": "req-000000000000"}), keys["ann"]),
    "no signature": lambda *_: Signature(signer="ann", text="yes, ann"),
    "nothing": lambda *_: Signature(signer="ann", text=""),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_signature_of_anything_else_approves_nothing(ledger_fixture, waiting, keys, policy, forged):
    refused = await ledger_fixture.refuses(waiting, HOST, signature=forged(waiting, keys), policy=policy)

    assert refused.code == "signature-refused"
    assert (await ledger_fixture.now(waiting)).state is State.AWAITING_APPROVAL


async def test_a_signature_counts_for_its_request_only(ledger_fixture, waiting, keys, policy):
    signature = signed(waiting, keys["ann"])
    other = await ledger_fixture.awaits(SIGNED_NEED, request=await ledger_fixture.deploy("0.13.5"))

    assert (await ledger_fixture.refuses(other, HOST, signature=signature, policy=policy)).code == "signature-refused"


async def test_a_signature_of_a_plain_approval_bypasses_nothing(ledger_fixture, keys, policy):
    """The trail shows it, so anyone who may approve could send it again."""
    both = SIGNED_NEED.model_copy(update={"approvals": 2, "bypass": 600.0})
    request = await ledger_fixture.awaits(both, signers=fingerprints(keys, ann=["ann"], bob=["bob"]))
    plain = signed(request, keys["ann"])
    why = "the shop is down"

    refused = await ledger_fixture.refuses(request, HOST, signature=plain, policy=policy, bypass=why)
    assert refused.code == "signature-refused"
    text = statements.approval(request.id, EFFECT, waiting_for(request).until, why)
    whole = Signature(signer="ann", text=keys["ann"].sign(text, statements.APPROVAL))
    assert (await ledger_fixture.decide(request, HOST, signature=whole, policy=policy, bypass=why))[1]


async def test_a_signature_denies_nothing_in_its_signers_name(ledger_fixture, waiting, keys, policy):
    plain = signed(waiting, keys["ann"])
    refused = await ledger_fixture.refuses(waiting, HOST, signature=plain, policy=policy, approve=False)

    assert refused.code == "invalid-argument"


async def test_an_operator_known_by_a_token_sends_no_signature_of_another(ledger_fixture, waiting, keys, policy):
    refused = await ledger_fixture.refuses(waiting, PAT, signature=signed(waiting, keys["ann"]), policy=policy)

    assert refused.code == "policy-denied"


async def test_a_peer_sends_no_signature(ledger_fixture, waiting, keys, policy):
    refused = await ledger_fixture.refuses(waiting, DOCS, signature=signed(waiting, keys["ann"]), policy=policy)

    assert refused.code == "policy-denied"


async def test_a_signer_does_not_approve_their_own_request(ledger_fixture, keys):
    policy = Policy(signers={"docs": (keys["ann"].public,)})
    request = await ledger_fixture.awaits(SIGNED_NEED, signers=fingerprints(keys, docs=["ann"]))
    refused = await ledger_fixture.refuses(request, HOST, signature=signed(request, keys["ann"], "docs"), policy=policy)

    assert (refused.code, refused.rule) == ("policy-denied", "approval.not-self")


async def test_one_person_with_two_keys_is_one_person(ledger_fixture, keys):
    policy = Policy(signers={"ann": (keys["ann"].public, keys["ann-new"].public), "bob": (keys["bob"].public,)})
    both = SIGNED_NEED.model_copy(update={"approvals": 2})
    request = await ledger_fixture.awaits(both, signers=fingerprints(keys, ann=["ann", "ann-new"], bob=["bob"]))
    resumed = []
    for key, signer in (("ann", "ann"), ("ann-new", "ann"), ("bob", "bob")):
        signature = signed(request, keys[key], signer)
        resumed.append((await ledger_fixture.decide(request, HOST, signature=signature, policy=policy))[1])

    assert resumed == [False, False, True]


async def test_a_signature_does_not_count_once_the_policy_no_longer_has_its_key(ledger_fixture, waiting, keys, policy):
    await ledger_fixture.decide(waiting, HOST, signature=signed(waiting, keys["ann"]), policy=policy)
    verdict = waiting_for(waiting).verdict
    without = verdict.model_copy(update={"signers": fingerprints(keys, ann=["ann-new"])})
    now = ledger_fixture.clock()

    assert await covers(ledger_fixture.ledger, waiting, verdict, EFFECT, now)
    assert not await covers(ledger_fixture.ledger, waiting, without, EFFECT, now)


async def test_a_new_key_signs_again_what_the_former_one_had_signed(ledger_fixture, keys, policy):
    both = SIGNED_NEED.model_copy(update={"approvals": 2})
    request = await ledger_fixture.awaits(both, signers=fingerprints(keys, ann=["ann-new"], bob=["bob"]))
    renewed = Policy(signers={"ann": (keys["ann-new"].public,), "bob": (keys["bob"].public,)})
    await ledger_fixture.decide(request, HOST, signature=signed(request, keys["ann"]), policy=policy)
    await ledger_fixture.decide(request, HOST, signature=signed(request, keys["ann-new"]), policy=renewed)
    _, resumed = await ledger_fixture.decide(
        request, HOST, signature=signed(request, keys["bob"], "bob"), policy=renewed
    )

    assert resumed


async def test_a_change_that_has_begun_goes_on_when_the_key_is_revoked(ledger_fixture, waiting, keys, policy):
    await ledger_fixture.decide(waiting, HOST, signature=signed(waiting, keys["ann"]), policy=policy)
    await ledger_fixture.ledger.approvals.use(waiting.id, EFFECT, ledger_fixture.clock.stamp)
    verdict = waiting_for(waiting).verdict.model_copy(update={"signers": {}})
    effect = Effect(action={}, parts=(), files=())

    await check_covered(ledger_fixture.ledger, waiting, verdict, Record(digest=EFFECT, approved=scope(effect)), effect)


async def test_a_signature_given_in_time_does_not_count_after_it(ledger_fixture, waiting, keys, policy):
    signature = signed(waiting, keys["ann"])
    ledger_fixture.clock.time += timedelta(seconds=NEED.seconds)

    refused = await ledger_fixture.refuses(waiting, HOST, signature=signature, policy=policy)
    assert refused.code == "approval-mismatch"


async def test_without_ssh_keygen_nothing_is_approved(ledger_fixture, waiting, keys, policy, monkeypatch, tmp_path):
    signature = signed(waiting, keys["ann"])
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InfraError) as refused:
        await ledger_fixture.decide(waiting, HOST, signature=signature, policy=policy)
    assert refused.value.code == "setup-failed"
