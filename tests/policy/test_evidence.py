"""Evidence in infra.toml: its forms, and what the rest of the policy must name for it."""

import re
from pathlib import Path

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.policy.evidence import EvidenceRules
from infra_mcp.policy.policy import load

GROUND = """
[forge]
kind = "gitea"
[clusters.prod]
context = "prod"
[[tree.roots]]
path = "."
delivery = "external"
"""
APP = '[apps.player]\nowner = "media"\n'


def evidence(text, ground=GROUND):
    return load(f"{ground}{APP}[apps.player.evidence]\n{text}\n").apps["player"].evidence


def test_every_kind_is_read_and_one_workload_is_a_list_of_one():
    found = evidence(
        """
check = { name = "deploy", by = "ci-bot" }
deployment = { environment = "production", by = "github-actions[bot]" }
workload = "media/deployment/player"
dns = { name = "player.example.org", server = "192.0.2.53", value = "192.0.2.7" }
url = { at = "https://player.example.org/version", pointer = "/version", value = "{version}" }
timeout = "45m"
"""
    )

    assert (found.check.name, found.check.by, found.check.applies) == ("deploy", "ci-bot", "on-branch")
    assert (found.deployment.environment, found.deployment.by) == ("production", "github-actions[bot]")
    assert found.workload == ("media/deployment/player",)
    assert (found.dns.type, found.dns.value) == ("A", ("192.0.2.7",))
    assert (found.url.pointer, found.url.value, found.url.hosts) == ("/version", "{version}", ())
    assert found.timeout == "45m"


def test_that_of_an_environment_is_instead_of_that_of_the_app():
    text = f"""{GROUND}{APP}
[apps.player.evidence]
workload = "media/deployment/player"
[apps.player.environments.staging]
at = "staging"
[apps.player.environments.staging.evidence]
workload = "staging/deployment/player"
[apps.player.environments.production]
at = "production"
"""
    app = load(text).apps["player"]

    assert app.evidence_in("staging").workload == ("staging/deployment/player",)
    assert app.evidence_in("production").workload == ("media/deployment/player",)
    assert app.evidence_in(None).workload == ("media/deployment/player",)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "apps.player.evidence"),
        ('timeout = "5m"', "apps.player.evidence"),
        ('check = { name = "deploy" }', "evidence.check.by"),
        ('deployment = { environment = "production" }', "evidence.deployment.by"),
        ('workload = "media/pod/player"', "evidence.workload"),
        ('dns = { name = "a.example" }', "evidence.dns.server"),
        ('url = { at = "https://player.example.org/" }', "evidence.url.value"),
        ('url = { at = "ftp://player.example.org/", value = "1" }', "evidence.url.at"),
        ('url = { at = "https://me:secret@player.example.org/", value = "1" }', "evidence.url.at"),
        ('url = { at = "https://{version}.example.org/", value = "1" }', "evidence.url.at"),
        ('url = { at = "https://player.example.org/", value = "{version" }', "evidence.url.value"),
        ('url = { at = "https://player.example.org/", value = "1", pointer = "version" }', "evidence.url.pointer"),
        ('image = "registry.example/media/player"', "evidence.image"),
    ],
)
def test_a_wrong_form_is_refused_by_its_key_and_not_repeated(text, wrong):
    with pytest.raises(InfraError) as caught:
        evidence(text)

    assert caught.value.code == "policy-invalid"
    assert wrong in caught.value.what
    assert "secret" not in caught.value.what


@pytest.mark.parametrize(
    ("text", "ground", "wrong"),
    [
        ('check = { name = "deploy", by = "ci-bot" }', "", "evidence.check is read at a forge"),
        ('deployment = { environment = "production", by = "ci-bot" }', "", "evidence.deployment is read at a forge"),
        ('workload = "media/deployment/player"', "", "evidence.workload is read in a cluster"),
        (
            'check = { name = "plan", by = "ci-bot", applies = "before-merge" }',
            GROUND,
            "evidence.check.applies is before-merge",
        ),
    ],
)
def test_evidence_that_the_rest_of_the_policy_gives_no_ground_for_is_refused(text, ground, wrong):
    with pytest.raises(InfraError, match=wrong):
        evidence(text, ground)


PAGE = Path(__file__).parents[2] / "docs" / "deliveries.md"
EXAMPLES = re.findall(r"^```toml\n(.+?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_shows_every_kind():
    shown = [load(f"{GROUND}{APP}{text}").apps["player"].evidence for text in EXAMPLES]

    for kind in EvidenceRules.model_fields.keys() - {"timeout"}:
        assert any(getattr(one, kind) for one in shown), kind
