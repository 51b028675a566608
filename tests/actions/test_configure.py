"""The edit of a configuration: each value where infra.toml says it stands, and not a byte beside it."""

import anyio
import pytest

from infra_mcp.actions.base import Look
from infra_mcp.actions.configure import edit
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.configure import Configure
from infra_mcp.policy.policy import load

POLICY = """
[[tree.roots]]
path = "apps"
[[tree.roots]]
path = "flux"
delivery = "flux"
[clusters.sandbox]
context = "c"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
[apps.docs.settings.memory]
at = ["apps/docs.yaml#spec.template.spec.containers[name=web].resources.limits.memory", "flux/values.yaml#web.memory"]
type = "quantity"
[apps.docs.settings.title]
at = "flux/values.yaml#web.title"
type = "string"
[apps.docs.settings.debug]
at = "flux/values.json#debug"
type = "boolean"
[apps.docs.settings.port]
at = 'flux/values.yaml#["a.b/c"][1].port'
type = "integer"
[apps.docs.settings.pages]
at = "flux/several.yaml#pages"
type = "integer"
[apps.docs.settings.second]
at = "flux/several.yaml!2#pages"
type = "integer"
[apps.docs.settings.sealed]
at = "flux/sealed.yaml#password"
type = "string"
[apps.docs.settings.beside]
at = "flux/sealed.yaml#plain"
type = "string"
[apps.docs.settings.signed]
at = "flux/signed.yaml#plain"
type = "string"
[apps.docs.settings.map]
at = "flux/values.yaml#web"
type = "string"
[apps.docs.settings.absent]
at = "flux/values.yaml#web.none"
type = "string"
[apps.docs.settings.lost]
at = "flux/none.yaml#web.none"
type = "string"
[apps.docs.settings.nowhere]
type = "string"
"""
DEPLOYMENT = """\
# The docs site.
apiVersion: apps/v1
kind: Deployment
metadata: {name: docs, namespace: docs-live}
spec:
  replicas: 2   # two are enough
  template:
    spec:
      containers:
        - name: web
          image: registry.example/docs:1
          resources: {limits: {memory: "64Mi"}}
"""
VALUES = """\
web:   # the site
  memory: 64Mi
  title: 'Docs'
a.b/c:
  - port: 1
  - port: 2  # the second
"""
FILES = {
    "apps/docs.yaml": DEPLOYMENT,
    "flux/values.yaml": VALUES,
    "flux/values.json": '{\n  "debug": false,\n  "other": [1]\n}\n',
    "flux/several.yaml": "pages: 1\n---\npages: 2\n",
    "flux/sealed.yaml": "password: ENC[AES256_GCM,data:abc,type:str]\nplain: a\nsops:\n  mac: x\n",
    "flux/signed.yaml": "plain: a\nsops:\n  mac_only_encrypted: true\n",
}


@pytest.fixture
def made(tree_of):
    def make(environment=None, more="", files=FILES, kind="deployment", **settings):
        policy = load(POLICY.replace("deployment", kind) + more)
        look = Look("req-1", "docs", policy, "sandbox", tree_of(files, "apps"), None)
        return anyio.run(edit, look, Configure(app="docs", settings=settings, environment=environment))

    return make


def changed(one):
    return {path: data.decode() for path, data in one.tree.changed.items()}


def test_a_setting_is_set_in_all_of_its_locations_and_nothing_else(made):
    one = made(memory="128Mi")

    assert changed(one) == {
        "apps/docs.yaml": DEPLOYMENT.replace("64Mi", "128Mi"),
        "flux/values.yaml": VALUES.replace("64Mi", "128Mi"),
    }
    assert [(change.path, change.before, change.after) for change in one.changes] == [
        ("apps/docs.yaml", "64Mi", "128Mi"),
        ("flux/values.yaml", "64Mi", "128Mi"),
    ]
    assert str(one.changes[0].ref) == "docs-live/deployment/docs"
    assert (one.goal.title, one.goal.done) == ("Configure docs: memory", "configured")


def test_several_settings_are_one_edit_with_their_types_and_quotes(made):
    one = made(title="The docs", debug="true", port="8080", replicas="3")

    assert changed(one) == {
        "apps/docs.yaml": DEPLOYMENT.replace("replicas: 2", "replicas: 3"),
        "flux/values.json": FILES["flux/values.json"].replace("false", "true"),
        "flux/values.yaml": VALUES.replace("'Docs'", "'The docs'").replace("port: 2", "port: 8080"),
    }


def test_what_is_so_already_is_addressed_and_not_changed(made):
    one = made(memory="64Mi")

    assert (changed(one), one.changes) == ({}, ())
    assert [where.path for where in one.addressed] == ["apps/docs.yaml", "flux/values.yaml"]


def test_the_document_that_the_location_names_is_changed(made):
    assert changed(made(second=5)) == {"flux/several.yaml": "pages: 1\n---\npages: 5\n"}


TEXT = """\
helm:
  values: |
    title: 'Docs' # of the site
    port: 1
  notes: "no: yaml: at all"
"""
TEXT_POLICY = "".join(
    f'[apps.docs.settings.{name}]\nat = "flux/text.yaml#helm.{at}"\ntype = "{kind}"\n'
    for name, at, kind in (
        ("in-title", "values.title", "string"),
        ("in-port", "values.port", "integer"),
        ("in-none", "values.none", "string"),
        ("in-notes", "notes.no", "string"),
    )
)


def test_values_in_a_text_are_set_in_it(made):
    one = made(more=TEXT_POLICY, files=FILES | {"flux/text.yaml": TEXT}, **{"in-title": "Our docs", "in-port": 2})

    assert changed(one) == {"flux/text.yaml": TEXT.replace("'Docs'", "'Our docs'").replace("port: 1", "port: 2")}
    assert {(change.field, change.inside) for change in one.changes} == {
        (("helm", "values"), ("title",)),
        (("helm", "values"), ("port",)),
    }


@pytest.mark.parametrize("name", ["in-none", "in-notes"])
def test_a_text_without_the_value_is_named(made, name):
    with pytest.raises(InfraError) as caught:
        made(more=TEXT_POLICY, files=FILES | {"flux/text.yaml": TEXT}, **{name: "x"})

    assert caught.value.code == "not-in-repository"


def test_line_ends_stay(made):
    files = FILES | {"flux/values.yaml": VALUES.replace("\n", "\r\n")}

    assert (
        made(files=files, port=9).tree.changed["flux/values.yaml"]
        == VALUES.replace("\n", "\r\n").replace("port: 2", "port: 9").encode()
    )


def test_only_the_encrypted_values_of_a_file_that_says_so_are_signed(made):
    assert changed(made(signed="b")) == {"flux/signed.yaml": FILES["flux/signed.yaml"].replace(": a", ": b")}


@pytest.mark.promise("configure.bounded")
@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("absent", "not-in-repository", "There is no value at flux/values.yaml#web.none."),
        ("lost", "not-in-repository", "There is no file flux/none.yaml."),
        ("nowhere", "not-in-repository", "does not say where setting nowhere of docs stands"),
        ("map", "manifest-invalid", "flux/values.yaml#web holds a map or a list"),
        ("sealed", "encrypted", "encrypted"),
        ("beside", "encrypted", "encrypted"),
        ("other", "not-found", "no setting other"),
    ],
)
def test_a_place_that_cannot_be_set_is_named(made, name, code, says):
    with pytest.raises(InfraError) as caught:
        made(**{name: "secret-word"})

    assert caught.value.code == code
    assert says in caught.value.what
    assert "secret-word" not in str(caught.value)


def test_several_documents_with_the_field_are_shown_as_lines_for_the_policy(made):
    with pytest.raises(InfraError) as caught:
        made(pages=3)

    assert caught.value.code == "ambiguous-setting"
    assert "flux/several.yaml!1#pages, flux/several.yaml!2#pages" in caught.value.next_step


def test_two_settings_of_one_place_are_refused(made):
    more = '[apps.docs.settings.also]\nat = "flux/values.yaml#web.title"\ntype = "string"\n'
    with pytest.raises(InfraError, match=r"Two of the settings stand at flux/values.yaml#web.title"):
        made(more=more, title="a", also="b")


@pytest.mark.promise("value.inert")
def test_a_value_is_written_so_that_its_deliverer_gives_it_back(made):
    assert changed(made(title="costs ${a}")) == {
        "flux/values.yaml": VALUES.replace("'Docs'", "'costs $${a}'"),
    }
    with pytest.raises(InfraError, match="would be interpreted"):
        made(title="{{ a }}")


def test_a_daemon_set_has_no_replicas(made):
    files = FILES | {"apps/docs.yaml": DEPLOYMENT.replace("Deployment", "DaemonSet")}
    with pytest.raises(InfraError, match="DaemonSet"):
        made(files=files, kind="daemonset", replicas=3)


ENVIRONMENTS = """
[apps.docs.settings.pages2]
at = ["flux/prod/values.yaml#pages", "flux/test/values.yaml#pages"]
type = "integer"
[apps.docs.settings.shared]
at = "flux/values.yaml#web.title"
type = "string"
[apps.docs.settings.inline]
at = ["flux/all.yaml#prod.pages", "flux/all.yaml#test.pages"]
type = "integer"
[apps.docs.environments.production]
at = ["flux/prod", "flux/all.yaml#prod"]
[apps.docs.environments.test]
at = ["flux/test", "flux/all.yaml#test"]
"""
BOTH = FILES | {
    "flux/prod/values.yaml": "pages: 1\n",
    "flux/test/values.yaml": "pages: 1\n",
    "flux/all.yaml": "prod: {pages: 1}\ntest: {pages: 1}\n",
}


def test_one_environment_is_changed_and_the_others_keep_their_bytes(made):
    one = made("production", ENVIRONMENTS, BOTH, pages2=7, inline=8)

    assert changed(one) == {
        "flux/all.yaml": "prod: {pages: 8}\ntest: {pages: 1}\n",
        "flux/prod/values.yaml": "pages: 7\n",
    }


def test_the_environment_is_asked_for_where_a_setting_stands_in_several(made):
    with pytest.raises(InfraError, match=r"stands in several environments: production, test\.") as caught:
        made(None, ENVIRONMENTS, BOTH, pages2=7)

    assert caught.value.code == "environment-needed"
    assert changed(made(None, ENVIRONMENTS, BOTH, shared="a")) == {
        "flux/values.yaml": VALUES.replace("'Docs'", "'a'"),
    }


def test_a_place_that_environments_share_is_not_changed_for_one_of_them(made):
    with pytest.raises(InfraError, match="no location of its own in environment production"):
        made("production", ENVIRONMENTS, BOTH, shared="a")
