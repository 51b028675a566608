"""What a plan's digest is of: everything an approval is about, and nothing that moves by itself."""

import pytest

from infra_mcp.engine.approvals import scope
from infra_mcp.model.plan import Adoption, Basis, Effect, ObjectChange, ObjectRef, Plan

REF = ObjectRef(cluster="c", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


def effect(**taken):
    given = {"field": ".spec.replicas", "manager": "kubectl-edit", "operation": "Update"} | taken
    return Effect(
        action={}, objects=(ObjectChange(ref=REF, operation="update", adoptions=(Adoption(**given),)),), files=()
    )


@pytest.mark.fault("d02")
@pytest.mark.promise("approval.digest")
def test_when_the_owner_last_wrote_is_no_part_of_what_is_approved():
    early, late, never = (effect(since=since) for since in ("2026-11-01T00:00:00Z", "2026-11-01T00:00:05Z", None))
    scopes = [scope(Plan(effect=one, basis=Basis(commit="c", objects=()))) for one in (early, late, never)]

    assert early.digest == late.digest == never.digest
    assert scopes[0] == scopes[1] == scopes[2]


@pytest.mark.fault("d02")
@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize("taken", [{"field": ".spec.paused"}, {"manager": "helm"}, {"operation": "Apply"}])
def test_whose_field_is_taken_is_part_of_what_is_approved(taken):
    assert effect().digest != effect(**taken).digest
