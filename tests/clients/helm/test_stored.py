"""The releases that Helm stores are read as Helm wrote them, and one that cannot be read is said to be so."""

import base64
import gzip
import json

import pytest

from infra_mcp.clients.helm import stored
from infra_mcp.errors import InfraError

RELEASE = {
    "name": "docs",
    "namespace": "team",
    "version": 3,
    "manifest": "---\nkind: ConfigMap\n",
    "config": {"password": "canary-value"},
    "chart": {"metadata": {"name": "docs", "version": "1.2.3", "appVersion": "7"}},
    "info": {"status": "deployed", "description": "Upgrade complete", "last_deployed": "2026-01-02T03:04:05.6Z"},
    "hooks": [
        {
            "name": "move",
            "kind": "Job",
            "path": "docs/templates/move.yaml",
            "events": ["pre-upgrade"],
            "delete_policies": ["hook-succeeded"],
            "manifest": "kind: Job",
            "last_run": {"phase": "Succeeded"},
        }
    ],
}


def _secret(release=None, data=None, number=3, **more):
    zipped = base64.b64encode(gzip.compress(json.dumps(release or RELEASE).encode()))
    return {
        "type": stored.TYPE,
        "metadata": {
            "name": stored.secret_name("docs", number),
            "namespace": "team",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"status": "deployed", "owner": "helm", "infra-mcp.dev/request": "mark"},
        },
        "data": {"release": base64.b64encode(data if data is not None else zipped).decode()},
    } | more


def test_a_revision_is_read_with_its_hooks_and_how_their_last_run_ended():
    one = stored.decode(_secret())
    assert (one.name, one.namespace, one.number, one.status) == ("docs", "team", 3, "deployed")
    assert (one.chart, one.version, one.app_version) == ("docs", "1.2.3", "7")
    assert one.labels["infra-mcp.dev/request"] == "mark"
    [hook] = one.hooks
    assert (hook.name, hook.events, hook.delete, hook.phase) == (
        "move",
        ("pre-upgrade",),
        ("hook-succeeded",),
        "Succeeded",
    )


def test_no_value_of_a_release_is_in_what_it_shows_of_itself():
    assert "canary-value" not in repr(stored.decode(_secret()))


def test_a_history_is_the_secrets_of_helm_s_type_by_number():
    later = {**RELEASE, "version": 11}
    found = stored.history([_secret(later, number=11), _secret(), _secret(type="Opaque")])
    assert [one.number for one in found] == [3, 11]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"",
        base64.b64encode(b"\x1f\x8bbroken"),
        base64.b64encode(b"[]"),
        base64.b64encode(b"{}"),
        base64.b64encode(json.dumps({**RELEASE, "version": "x"}).encode()),
        base64.b64encode(json.dumps({**RELEASE, "info": None}).encode()),
        base64.b64encode(json.dumps({**RELEASE, "hooks": [{}]}).encode()),
        base64.b64encode(("[" * 100_000).encode()),
    ],
)
@pytest.mark.promise("helm.stuck")
def test_a_revision_that_cannot_be_read_is_named_and_nothing_is_guessed(data):
    with pytest.raises(InfraError, match=r"team/sh\.helm\.release\.v1\.docs\.v3") as caught:
        stored.decode(_secret(data=data))
    assert caught.value.code == "release-stuck"


def test_a_revision_of_an_old_helm_without_zip_is_read():
    assert stored.decode(_secret(data=base64.b64encode(json.dumps(RELEASE).encode()))).number == 3


def test_what_unpacks_to_more_than_a_release_can_be_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(stored, "_MAX_SIZE", 1000)
    big = base64.b64encode(gzip.compress(json.dumps({**RELEASE, "manifest": "x" * 10_000}).encode()))
    with pytest.raises(InfraError):
        stored.decode(_secret(data=big))


@pytest.mark.promise("helm.stuck")
def test_a_pending_revision_is_marked_as_failed_with_all_else_as_it_is_and_bound_to_what_was_read():
    body = stored.failed(_secret({**RELEASE, "info": {"status": "pending-install"}}), "interrupted")
    assert body["metadata"] == {
        "name": stored.secret_name("docs", 3),
        "namespace": "team",
        "uid": "u",
        "resourceVersion": "7",
        "labels": {"status": "failed"},
    }
    again = stored.decode({**body, "type": stored.TYPE})
    assert (again.status, again.description) == ("failed", "interrupted")
    assert again.manifest == RELEASE["manifest"]
    assert again.values == RELEASE["config"]


@pytest.mark.parametrize(
    ("info", "number"),
    [
        ({"description": "Rollback to 4"}, 4),
        ({"rollback_revision": 5, "description": 'Rollback "docs" failed'}, 5),
        ({"description": "Upgrade complete"}, None),
        ({"description": "Rollback to 4, said a person"}, None),
    ],
)
def test_the_revision_that_a_rollback_brought_back_is_known_from_both_helms(info, number):
    assert stored.decode(_secret({**RELEASE, "info": {"status": "deployed", **info}})).rolled_back_to == number


def test_what_helm_prints_is_read_as_a_release_or_refused():
    assert stored.parse(RELEASE).number == 3
    with pytest.raises(InfraError, match="no release"):
        stored.parse({"name": "docs"})
