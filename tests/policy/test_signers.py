"""The keys of those who sign approvals: which are taken, and what a rule that wants signatures needs."""

import pytest
from pydantic import ValidationError
from ssh_keys import Key

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.policy.decide import admit
from infra_mcp.policy.policy import Policy, load
from infra_mcp.policy.signers import fingerprint

pytestmark = pytest.mark.promise("approval.signed")

APP = """
[clusters.sandbox]
context = "c"
[circles.docs]
namespaces = ["docs-live"]
actions = ["deploy"]
images = ["*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
RULE = """
[[rules]]
id = "signed"
require = { approvals = APPROVALS, strength = "signed"BY }
[signers]
"""


def rule(signers, *, approvals=1, by=""):
    lines = "".join(f'"{name}" = {[*keys]}\n' for name, keys in signers.items())
    return load(APP + RULE.replace("APPROVALS", str(approvals)).replace("BY", by) + lines)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [Key(folder, name) for name in ("one", "two", "three")]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_public_key_of_openssh_is_taken_and_known_by_its_fingerprint(tmp_path, kind):
    key = Key(tmp_path, "key", kind)
    (taken,) = rule({"ann": [key.public]}).signers["ann"]

    assert taken == key.public.removesuffix(" of a test")
    assert fingerprint(taken) == key.fingerprint


def test_a_request_says_that_a_rule_wants_a_signature_and_whose_keys_count(keys):
    policy = rule({"ann": [keys[0].public, keys[1].public], "bob": [keys[2].public]}, approvals=2)
    asker = Caller(name="docs", circle="docs", strength="token")
    verdict = admit(policy, asker, Deploy(app="docs", version="1"))

    assert "2 approvals by different operators, signed" in verdict.reason
    assert "--sign KEY" in verdict.would_pass
    prints = [one.fingerprint for one in keys]
    assert verdict.signers == {"ann": tuple(prints[:2]), "bob": (prints[2],)}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAAB3NzaC1kc3MAAACBAPY8ZOHY2yFSJA6XYC9HRwNHxaehvx5wOJ0rzZdzoSOXxbET",
        "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t",
        "cert-authority ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        'namespaces="git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5',
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGKpbRVYd9sBpHUBwrJZhhYXjlhnLBMq2zkGQf1bLxZv",  # another type inside
    ],
)
def test_anything_else_is_no_public_key_and_is_not_repeated(line):
    with pytest.raises(InfraError) as refused:
        rule({"ann": [line]})

    assert refused.value.code == "policy-invalid"
    assert "signers.ann" in refused.value.what
    assert "AAAA" not in refused.value.what


def test_a_line_brings_one_key_and_no_line_after_it(keys):
    one, other = (key.public for key in keys[:2])
    (taken,) = Policy(signers={"ann": (f"{one}\neve {other}",)}).signers["ann"]

    assert taken == one.removesuffix(" of a test")
    with pytest.raises(ValidationError):
        Policy(signers={"ann": (f"{taken}\neve {other}",)})


@pytest.mark.parametrize(
    ("signers", "more", "why"),
    [
        ({}, {}, "requires 1 signed approvals; signers with keys: 0"),
        ({"ann": []}, {}, "signers with keys: 0"),
        ({"ann": [0, 1]}, {"approvals": 2}, "requires 2 signed approvals; signers with keys: 1"),
        ({"ann": [0], "bob": [0]}, {}, "have the same key"),
        ({"ann": [0], "Ann": [1]}, {}, "look alike"),
        ({"ann": [0]}, {"by": ', by = "merge"'}, "not signed"),
        ({"ann": [0]}, {"by": ', by = "review"'}, "not signed"),
    ],
)
def test_a_rule_that_signatures_cannot_meet_is_an_invalid_policy(keys, signers, more, why):
    with pytest.raises(InfraError) as refused:
        rule({name: [keys[one].public for one in which] for name, which in signers.items()}, **more)

    assert refused.value.code == "policy-invalid"
    assert why in refused.value.what
