"""What a plan's digest is of: everything an approval is about, and nothing that moves by itself."""

import pytest
from pydantic import ValidationError

from infra_mcp.engine.approvals import scope
from infra_mcp.model.effect import Change, Effect, FieldChange, FileChange, Part, Takeover
from infra_mcp.model.object_ref import ObjectRef

REF = ObjectRef(cluster="c", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


def effect(**taken):
    given = {"field": ".spec.replicas", "manager": "kubectl-edit", "operation": "Update"} | taken
    change = Change(target=REF.target, operation="update", takes=(Takeover(**given),))
    return Effect(action={}, parts=(Part(driver="kubernetes", place="c", stage=0, changes=(change,)),), files=())


@pytest.mark.fault("d02")
@pytest.mark.promise("approval.digest", "approval.stable")
def test_the_time_of_a_field_manager_is_not_part_of_the_effect_digest():
    names = {name for model in (Effect, Part, Change, Takeover, FieldChange, FileChange) for name in model.model_fields}

    assert names & {"since", "time", "at", "when", "created", "resource_version"} == set()
    with pytest.raises(ValidationError):
        effect(since="2026-11-01T00:00:00Z")


@pytest.mark.fault("d02")
@pytest.mark.promise("approval.stable")
def test_the_former_blob_of_a_file_is_not_part_of_the_effect_digest():
    one, other = (
        effect().model_copy(update={"files": (FileChange(path="a", operation="edit", before=oid, diff="-1\n+2\n"),)})
        for oid in ("a" * 40, "b" * 40)
    )

    assert one.digest == other.digest
    assert scope(one) == scope(other)


@pytest.mark.fault("d02")
@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize("taken", [{"field": ".spec.paused"}, {"manager": "helm"}, {"operation": "Apply"}])
def test_the_manager_of_a_taken_field_is_part_of_the_effect_digest(taken):
    assert effect().digest != effect(**taken).digest
