"""The edit of a rollback: what a request set, set back in files as they are today."""

from dataclasses import replace

import anyio
import pytest

from infra_mcp.actions.base import Past
from infra_mcp.actions.deploy import edit as deploy
from infra_mcp.actions.rollback import edit
from infra_mcp.actions.scale import edit as scale
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import Rollback
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.actions.scale import Scale
from infra_mcp.repository.edits import DeleteFile, PutFile, SetValue

pytestmark = pytest.mark.promise("rollback.request")

TEXT = """\
# The docs site.
apiVersion: apps/v1
kind: Deployment
metadata: {name: docs, namespace: docs-live}
spec:
  replicas: 3   # for the load
  selector: {matchLabels: {app: docs}}
  template:
    metadata: {labels: {app: docs}}
    spec:
      initContainers:
        - {name: warm, image: &image "registry.example/docs/site:1.0.0"}
      containers:
        - name: site
          image: *image   # the same
          env: [{name: DB_PASSWORD, value: "from-before"}]
"""
BARE = TEXT.replace("  replicas: 3   # for the load\n", "")
ENV = ("spec", "template", "spec", "containers", {"name": "site"}, "env", {"name": "DB_PASSWORD"}, "value")
SPACE = ProvisionNamespace(namespace="docs-x")


def made(look, edit_of, action):
    return anyio.run(edit_of, look, action)


def back(look, action, *stages):
    look = replace(look, past=Past("req-1", action, stages))
    return anyio.run(edit, look, Rollback(request="req-1"))


def text(one):
    return one.tree.read("docs.yaml").decode()


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize(("before", "edit_of", "action", "subject", "done"), [
    (TEXT, deploy, Deploy(app="docs", version="2.0.0"), "docs 1.0.0", "runs again"),
    (TEXT, scale, Scale(app="docs", replicas=5), "docs", "scaled back to 3"),
    (BARE, scale, Scale(app="docs", replicas=5), "docs", "as it was before"),
    (TEXT.replace("\n", "\r\n"), deploy, Deploy(app="docs", version="2.0.0"), "docs 1.0.0", "runs again"),
])  # fmt: skip
def test_every_byte_is_as_before_and_a_second_rollback_brings_the_change_again(
    look_at, before, edit_of, action, subject, done
):
    changed = made(look_at(before), edit_of, action)
    assert text(changed) != before

    (one,) = back(look_at(text(changed)), action, changed.changes)
    (two,) = back(look_at(text(one)), action, one.changes)

    assert text(one) == before
    assert text(two) == text(changed)
    assert (one.goal.subject, one.goal.done, one.goal.on_failure) == (subject, done, "rollback")
    assert one.goal.title.startswith(f"Roll back req-1: {subject}")
    fields = [place.field for place in one.addressed]
    assert all(change.field in fields for change in changed.changes)


def test_what_is_back_already_is_addressed_and_not_changed(look_at):
    action = Deploy(app="docs", version="2.0.0")
    changed = made(look_at(TEXT), deploy, action)

    (one,) = back(look_at(TEXT), action, changed.changes)

    assert (one.changes, text(one)) == ((), TEXT)
    assert len(one.addressed) == len(changed.changes) > 0


def test_only_what_is_not_back_yet_is_set_back(look_at):
    action = Deploy(app="docs", version="2.0.0")
    changed = made(look_at(TEXT.replace("*image", '"registry.example/docs/site:1.0.0"')), deploy, action)
    half = text(changed).replace(
        '&image "registry.example/docs/site:2.0.0"', '&image "registry.example/docs/site:1.0.0"'
    )

    (one,) = back(look_at(half), action, changed.changes)

    assert len(changed.changes) == 2
    assert [change.after for change in one.changes] == ["registry.example/docs/site:1.0.0"]


def test_a_later_stage_is_rolled_back_first_in_a_commit_of_its_own(look_at):
    first = made(look_at(TEXT), scale, Scale(app="docs", replicas=5))
    second = made(look_at(text(first)), scale, Scale(app="docs", replicas=7))

    one, two = back(look_at(text(second)), Scale(app="docs", replicas=7), first.changes, (), second.changes)

    assert (text(one), text(two)) == (text(first), TEXT)


@pytest.mark.parametrize(("now", "shown"), [
    (TEXT.replace("replicas: 3", "replicas: 9"), "docs.yaml, docs-live/deployment/docs .spec.replicas: 5 → 9"),
    (TEXT.replace("replicas: 3", 'replicas: "5"'), "docs.yaml, docs-live/deployment/docs .spec.replicas: 5 → '5'"),
    (BARE, "docs.yaml, docs-live/deployment/docs .spec.replicas: 5 → absent"),
])  # fmt: skip
def test_what_others_changed_since_is_named_with_file_field_and_both_values(look_at, now, shown):
    action = Scale(app="docs", replicas=5)
    changed = made(look_at(TEXT), scale, action)

    with pytest.raises(InfraError) as caught:
        back(look_at(now), action, changed.changes)

    assert (caught.value.code, shown in caught.value.what) == ("changed-since", True), caught.value.what


@pytest.mark.parametrize("now", ["", TEXT.replace("name: docs,", "name: other,")])
def test_an_object_that_is_gone_is_named(look_at, now):
    action = Scale(app="docs", replicas=5)
    changed = made(look_at(TEXT), scale, action)

    with pytest.raises(InfraError, match="docs-live/deployment/docs") as caught:
        back(look_at(now), action, changed.changes)

    assert caught.value.code == "not-in-repository"


def test_a_container_that_is_gone_is_absent(look_at):
    action = Deploy(app="docs", version="2.0.0")
    changed = made(look_at(TEXT), deploy, action)

    with pytest.raises(InfraError) as caught:
        back(look_at(text(changed).replace("- name: site", "- name: web")), action, changed.changes)

    assert caught.value.code == "changed-since"
    assert "absent" in caught.value.what


@pytest.mark.promise("secrets.nowhere")
def test_a_value_of_a_named_secret_is_masked_where_it_is_shown(look_at):
    from infra_mcp.masking import Masker  # noqa: PLC0415 - only here

    (ref,) = [one.ref for one in look_at(TEXT).tree.objects_of("docs.yaml")]
    change = SetValue(path="docs.yaml", ref=ref, field=ENV, before="from-then", after="from-us")

    with pytest.raises(InfraError) as caught:
        back(look_at(TEXT), Deploy(app="docs", version="2"), (change,))

    shown = Masker(b"k" * 32).mask(caught.value.what)
    assert ".value" in shown
    assert not any(value in shown for value in ("from-before", "from-us"))


@pytest.mark.parametrize(("action", "stages", "reason"), [
    (Deploy(app="docs", version="2"), (), "changed no file"),
    (Deploy(app="docs", version="2"), ((),), "changed no file"),
    (SPACE, ((PutFile(path="docs.yaml"),),), "added docs.yaml: .* is a removal"),
    (SPACE, (tuple(PutFile(path=f"{n}.yaml") for n in range(5)),), "added 0.yaml, 1.yaml, 2.yaml, and 2 more"),
    (SPACE, ((PutFile(path="gone.yaml"),),), "is a removal"),
])  # fmt: skip
def test_what_changed_no_file_or_added_some_is_refused_whatever_else_it_set(look_at, action, stages, reason):
    with pytest.raises(InfraError, match=reason) as caught:
        back(look_at(TEXT), action, *stages)

    assert caught.value.code == "no-rollback"


def test_a_deleted_file_is_there_again_with_its_content_unless_another_is(look_at):
    gone = DeleteFile(path="old.yaml", content=TEXT.replace("name: docs,", "name: old,"))

    (one,) = back(look_at(TEXT), SPACE, (gone,))

    assert one.tree.read("old.yaml").decode() == gone.content
    assert one.changes == (PutFile(path="old.yaml"),)
    (same,) = back(look_at(TEXT), SPACE, (DeleteFile(path="docs.yaml", content=TEXT),))
    assert (same.changes, text(same)) == ((), TEXT)
    with pytest.raises(InfraError, match=r"docs\.yaml is there again, with other content") as caught:
        back(look_at(TEXT), SPACE, (DeleteFile(path="docs.yaml", content="{}\n"),))
    assert caught.value.code == "changed-since"


def test_without_a_server_nothing_is_known_of_a_request(look_at):
    with pytest.raises(InfraError, match="which only a server reads") as caught:
        anyio.run(edit, look_at(TEXT), Rollback(request="req-1"))

    assert (caught.value.code, "--dry-run" in caught.value.next_step) == ("not-found", True)
