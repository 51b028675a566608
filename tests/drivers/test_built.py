"""What differs between two builds is what is set: the fields that change, those that are gone, and new objects."""

from infra_mcp.drivers.base import Build
from infra_mcp.drivers.manifests.objects import in_build, left
from infra_mcp.repository.render import parse

OBJECT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {team: shop}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: web, image: "registry.example/web:1", env: [{name: A, value: a}, {name: B, value: b}]}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings-{0}, namespace: shop}}\ndata: {{a: {0}}}\n"


def objects(*texts):
    return tuple(parse("---\n".join(texts).encode(), "live", "here"))


def changes(before, after, other=None):
    return list(in_build(Build("live", objects(*before), objects(*after), None if other is None else objects(*other))))


def test_only_what_changes_is_set():
    (one,) = changes([OBJECT], [OBJECT.replace("web:1", "web:2")])

    assert one.sets["spec"] == {
        "template": {"spec": {"containers": [{"name": "web", "image": "registry.example/web:2"}]}}
    }
    assert (one.whole, one.removes) == (False, ())
    assert changes([OBJECT], [OBJECT]) == []


def test_fields_and_items_that_are_gone_are_removed():
    (one,) = changes([OBJECT], [OBJECT.replace(", labels: {team: shop}", "").replace(", {name: B, value: b}", "")])

    env = ("spec", "template", "spec", "containers", {"name": "web"}, "env", {"name": "B"})
    assert one.removes == (("metadata", "labels"), env)
    assert one.sets == one.ref.identity


def test_a_new_name_is_a_new_object_and_the_old_one_is_named():
    build = Build("live", objects(CONFIG.format("old")), objects(CONFIG.format("new")))
    (one,) = in_build(build)

    assert (one.whole, one.generated, one.sets["data"]) == (True, True, {"a": "new"})
    assert left(build) == ["shop/configmap/settings-old"]


def test_without_a_change_in_git_the_places_show_what_they_decide():
    (one,) = changes([OBJECT], [OBJECT], [OBJECT.replace("replicas: 2", "replicas: 3")])

    assert one.sets["spec"] == {"replicas": 2}
    assert one.git["spec"]["replicas"] == 2
