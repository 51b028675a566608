import pytest
from ledger_template import open_new

from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.actions import FIRST_EDITION
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.peer import Caller
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.decide import admit
from infra_mcp.policy.policy import Policy, digest_of, load

FIRST = "[clusters.a]\ncontext = 'a'\n"
SECOND = "[clusters.a]\ncontext = 'b'\n"
GRANTED = """
[clusters.a]
context = "a"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy", "restart", "scale", "remove"]
images = ["registry.example/docs/*"]
limits = { replicas = 3 }
[circles.shop]
actions = ["deploy"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
NEW = ("restart", "scale")
ASKED = {
    "deploy": Deploy(app="docs", version="1"),
    "restart": Restart(app="docs"),
    "scale": Scale(app="docs", replicas=2),
}

pytestmark = pytest.mark.anyio


class Memory:
    """What a ledger remembers, for what a real one refuses to remember."""

    def __init__(self):
        self.masker = Masker(b"k" * 32)
        self.rows = []

    async def accept_policy(self, digest, text, by, actions):
        self.rows.append((digest, self.masker.mask(text), by, frozenset(actions)))

    async def accepted_policy(self):
        return self.rows[-1][:2] if self.rows else None

    async def freezes(self):
        return []

    async def accepted_actions(self, digest):
        return next(row[3] for row in reversed(self.rows) if row[0] == digest)


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
async def ledger(tmp_path):
    opened = await open_new(tmp_path / "state")
    yield opened
    await opened.aclose()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "infra.toml"
    path.write_bytes(FIRST.encode())
    return path


def allowed_of(policy: Policy, caller: Caller) -> list[str]:
    return [name for name, action in ASKED.items() if admit(policy, caller, action).decision == "allow"]


def code_of(in_force: PolicyInForce) -> str:
    with pytest.raises(InfraError) as caught:
        in_force.current()
    return caught.value.code


@pytest.mark.promise("policy.accepted")
async def test_a_file_nobody_accepted_is_not_in_force(file, ledger):
    in_force = PolicyInForce(file, ledger)
    await in_force.refresh()

    assert code_of(in_force) == "policy-not-accepted"
    assert await in_force.pending() == (digest_of(FIRST), None, "")


@pytest.mark.promise("policy.accepted")
async def test_what_an_operator_accepts_is_in_force(file, ledger, operator):
    in_force = PolicyInForce(file, ledger)
    accepted = await in_force.accept(digest_of(FIRST), operator)

    assert in_force.current() == accepted
    assert await ledger.accepted_policy() == (digest_of(FIRST), FIRST)
    assert await in_force.pending() is None


@pytest.mark.promise("policy.accepted")
async def test_a_changed_file_changes_nothing_until_it_is_accepted(file, ledger, operator):
    in_force = PolicyInForce(file, ledger)
    await in_force.accept(digest_of(FIRST), operator)
    file.write_bytes(SECOND.encode())
    await in_force.refresh()

    assert in_force.current().clusters["a"].context == "a"
    assert await in_force.pending() == (digest_of(SECOND), digest_of(FIRST), "")

    await in_force.accept(digest_of(SECOND), operator)
    assert in_force.current().clusters["a"].context == "b"


@pytest.mark.promise("policy.accepted")
async def test_a_new_server_takes_what_was_accepted_and_not_the_file(file, ledger, operator):
    await PolicyInForce(file, ledger).accept(digest_of(FIRST), operator)
    file.write_bytes(SECOND.encode())
    later = PolicyInForce(file, ledger)
    await later.refresh()

    assert later.current() == load(FIRST)


async def test_who_waits_for_a_change_is_told_once_another_policy_is_in_force(file, ledger, operator):
    in_force = PolicyInForce(file, ledger)
    first = in_force.changed()
    await in_force.accept(digest_of(FIRST), operator)
    second = in_force.changed()
    await in_force.refresh()

    assert first.is_set()
    assert not second.is_set()


@pytest.mark.promise("policy.accepted")
async def test_a_text_is_kept_byte_for_byte(file, ledger, operator):
    text = "# Grüße\t\u202e\r\n[clusters.a]\r\ncontext = 'a'\n"
    file.write_bytes(text.encode())
    await PolicyInForce(file, ledger).accept(digest_of(text), operator)
    later = PolicyInForce(file, ledger)
    await later.refresh()

    assert later.current().digest == digest_of(text)


async def test_a_file_that_is_gone_or_broken_leaves_the_accepted_policy_in_force(file, ledger, operator):
    in_force = PolicyInForce(file, ledger)
    await in_force.accept(digest_of(FIRST), operator)
    file.write_bytes(b"[clusters")
    await in_force.refresh()

    assert in_force.current() == load(FIRST)
    assert "not TOML" in (await in_force.pending()).problem

    file.unlink()
    await in_force.refresh()
    assert in_force.current() == load(FIRST)
    with pytest.raises(InfraError) as caught:
        await in_force.pending()
    assert caught.value.code == "policy-invalid"


@pytest.mark.promise("policy.accepted")
async def test_nobody_but_an_operator_accepts(file, ledger, docs):
    with pytest.raises(InfraError) as caught:
        await PolicyInForce(file, ledger).accept(digest_of(FIRST), docs)

    assert caught.value.code == "policy-denied"
    assert await ledger.accepted_policy() is None


async def test_what_is_accepted_is_what_was_looked_at(file, ledger, operator):
    in_force = PolicyInForce(file, ledger)
    file.write_bytes(SECOND.encode())
    with pytest.raises(InfraError) as caught:
        await in_force.accept(digest_of(FIRST), operator)

    assert caught.value.code == "policy-not-accepted"
    assert await ledger.accepted_policy() is None


@pytest.mark.parametrize("text", ["[clusters", "[peer]\nnam = 'x'", "# password = hunter2-hunter2-hunter2\n"])
async def test_what_is_no_policy_or_holds_a_secret_is_not_accepted(file, ledger, operator, text):
    file.write_bytes(text.encode())
    with pytest.raises(InfraError) as caught:
        await PolicyInForce(file, ledger).accept(digest_of(text), operator)

    assert caught.value.code == "policy-invalid"
    assert "hunter2" not in str(caught.value)
    assert await ledger.accepted_policy() is None


async def test_a_row_that_was_changed_is_not_in_force(file, memory, operator):
    await PolicyInForce(file, memory).accept(digest_of(FIRST), operator)
    memory.rows[-1] = (digest_of(FIRST), SECOND, "operator", frozenset())
    in_force = PolicyInForce(file, memory)
    await in_force.refresh()

    assert code_of(in_force) == "policy-not-accepted"


async def test_an_accepted_text_this_version_cannot_read_grants_nothing(file, ledger):
    future = "[circles.docs]\nmoods = ['good']\n"
    await ledger.accept_policy(digest_of(future), future, "operator")
    in_force = PolicyInForce(file, ledger)
    await in_force.refresh()

    assert code_of(in_force) == "policy-invalid"


@pytest.mark.promise("policy.accepted")
async def test_a_pinned_digest_is_in_force_without_an_acceptance(file, ledger):
    in_force = PolicyInForce(file, ledger, pin=digest_of(FIRST))
    await in_force.refresh()

    assert in_force.current() == load(FIRST).accepted_for(FIRST_EDITION)
    assert await ledger.accepted_policy() is None


@pytest.mark.promise("policy.accepted")
async def test_a_pin_grants_the_actions_of_the_first_edition_and_those_that_it_names(file, ledger, docs):
    file.write_text(GRANTED, encoding="utf-8")
    for more, allowed in (("", []), ("+scale", ["scale"]), ("+restart,scale", ["restart", "scale"])):
        in_force = PolicyInForce(file, ledger, pin=digest_of(GRANTED) + more)
        await in_force.refresh()

        assert allowed_of(in_force.current(), docs) == ["deploy", *allowed]
        assert in_force.current().waiting() == tuple(name for name in NEW if name not in allowed)
        assert await in_force.pending() is None


async def test_a_pin_that_names_no_action_says_which_there_are(file, ledger):
    with pytest.raises(InfraError, match="unknown action: everything") as refused:
        PolicyInForce(file, ledger, pin=digest_of(FIRST) + "+scale,everything")

    assert refused.value.code == "invalid-argument"
    assert "restart" in refused.value.next_step


@pytest.mark.promise("policy.accepted")
@pytest.mark.promise("policy.default-deny")
async def test_a_policy_accepted_by_the_first_edition_grants_no_action_that_came_later(file, ledger, docs, operator):
    file.write_text(GRANTED, encoding="utf-8")
    await ledger.accept_policy(digest_of(GRANTED), GRANTED, "operator")  # as that edition noted it: without actions
    in_force = PolicyInForce(file, ledger)
    await in_force.refresh()

    assert allowed_of(in_force.current(), docs) == ["deploy"]
    assert in_force.current().waiting("docs") == NEW
    verdict = admit(in_force.current(), docs, ASKED["scale"])
    assert verdict.rule == "circles.docs.actions"
    assert "accepted again" in verdict.reason
    assert "infra-mcp policy accept" in verdict.would_pass

    told = in_force.changed()
    await in_force.accept(digest_of(GRANTED), operator)  # the very same text

    assert told.is_set()
    assert allowed_of(in_force.current(), docs) == ["deploy", *NEW]
    assert in_force.current().waiting() == ()
    again = PolicyInForce(file, ledger)
    await again.refresh()
    assert allowed_of(again.current(), docs) == ["deploy", *NEW]


@pytest.mark.promise("policy.accepted")
async def test_what_an_acceptance_knew_is_asked_of_that_acceptance_and_of_no_other(file, ledger, docs):
    file.write_text(GRANTED, encoding="utf-8")
    await ledger.accept_policy(digest_of(GRANTED), GRANTED, "operator", ["deploy", "scale"])
    await ledger.accept_policy(digest_of(FIRST), FIRST, "operator", ["deploy", "scale", "restart"])
    await ledger.accept_policy(digest_of(GRANTED), GRANTED, "operator", ["deploy", "restart"])
    in_force = PolicyInForce(file, ledger)
    await in_force.refresh()

    assert allowed_of(in_force.current(), docs) == ["deploy", "restart"]


def test_a_circle_is_told_of_its_own_grants_that_wait_and_of_no_others(docs):
    policy = load(GRANTED).accepted_for(FIRST_EDITION)

    assert policy.waiting("shop") == ()
    assert policy.waiting("nobody") == ()
    assert policy.waiting(docs.circle) == NEW
    assert load(GRANTED).waiting() == ()


@pytest.mark.promise("policy.accepted")
async def test_under_a_pin_neither_another_file_nor_an_acceptance_counts(file, ledger, operator):
    await PolicyInForce(file, ledger).accept(digest_of(FIRST), operator)
    pinned = PolicyInForce(file, ledger, pin=digest_of(SECOND))
    await pinned.refresh()

    assert code_of(pinned) == "policy-not-accepted"
    with pytest.raises(InfraError) as caught:
        await pinned.accept(digest_of(FIRST), operator)
    assert caught.value.code == "policy-denied"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (2**20 + 1)])
async def test_a_file_that_is_no_text_or_too_large_is_refused(file, ledger, content):
    file.write_bytes(content)
    with pytest.raises(InfraError) as caught:
        await PolicyInForce(file, ledger).pending()

    assert caught.value.code == "policy-invalid"


async def test_a_folder_in_the_files_place_is_refused(file, ledger):
    file.unlink()
    file.mkdir()
    with pytest.raises(InfraError) as caught:
        await PolicyInForce(file, ledger).pending()

    assert caught.value.code == "policy-invalid"
