"""Every part of an Application or a set, replaced by what does not belong there: the rest is read all the same."""

import copy
import json

import pytest
from repository.census.argo_parts import URL, application, application_set, chart, deployment, source

from infra_mcp.repository.census.apps import Census

LIST = {"list": {"elements": [{"cluster": "lab", "version": "1"}]}}
GIT = {"git": {"repoURL": URL, "files": [{"path": "fleet/*.yaml"}], "values": {"a": "{{ .path.basename }}"}}}
FOLDERS = {"git": {"repoURL": URL, "directories": [{"path": "apps/*", "exclude": False}], "pathParamPrefix": "x"}}
SELECTOR = {
    "matchLabels": {"cluster": "lab"},
    "matchExpressions": [{"key": "version", "operator": "In", "values": ["1"]}],
}
HELM = {
    "releaseName": "web",
    "valueFiles": ["values.yaml"],
    "values": "image: {tag: 1}\n",
    "valuesObject": {"image": {"tag": "2"}},
    "parameters": [{"name": "image.tag", "value": "3", "forceString": True}],
    "fileParameters": [{"name": "a", "path": "tag.txt"}],
}
OVER = {
    "images": ["web=r.example/web:1"],
    "replicas": [{"name": "web", "count": 2}],
    "namePrefix": "a-",
    "patches": [{"patch": "a: b"}],
}
NOTES = {"argocd-image-updater.argoproj.io/image-list": "a=b"}
WHOLE = [
    application("web", chart("web", "1.0.0", **HELM), {"repoURL": URL, "ref": "here"}, annotations=NOTES),
    application("web", source("charts/web", helm=HELM)),
    application("web", source("apps/web", kustomize=OVER)),
    application("web", source("plain", directory={"recurse": True, "include": "*.yaml", "exclude": "{a,b}"})),
    application_set(
        "web", [{**LIST, "selector": SELECTOR}], "w-{{ .cluster }}", chart("web", "{{ .version }}", **HELM)
    ),
    application_set("web", [{"matrix": {"generators": [GIT, LIST]}}], "w", source("{{ .path.path }}")),
    application_set(
        "web", [{"merge": {"mergeKeys": ["cluster"], "generators": [LIST, FOLDERS]}}], "w", source("apps/web")
    ),
]
ODD = [None, "{{ .x", [[]], [{}], {"a": 1}, True, 1.5]
FILES = {
    "charts/web/Chart.yaml": "name: web\nversion: 0.1.0\n",
    "charts/web/values.yaml": "image: {repository: r.example/web, tag: 1}\n",
    "apps/web/kustomization.yaml": "resources: [web.yaml]\n",
    "apps/web/web.yaml": deployment(),
    "plain/web.yaml": deployment("other"),
    "fleet/a.yaml": "a: 1\n",
    "fleet/b.yaml": "- a: 1\n- 2\n",
}


def _places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from _places(one, (*at, key))


def _replaced(value, at, new):
    done = copy.deepcopy(value)
    here = done
    for key in at[:-1]:
        here = here[key]
    here[at[-1]] = new
    return done


@pytest.mark.parametrize("whole", WHOLE)
def test_what_does_not_belong_there_ends_no_census(census, whole):
    value = json.loads(whole)
    broken = [_replaced(value, at, odd) for at in _places(value) if at[:1] == ("spec",) for odd in ODD]
    failed = []
    for one in broken:
        try:
            found = census(FILES | {"argo/web.yaml": json.dumps(one, indent=1)})
            assert isinstance(found, Census)
            assert all(unit.holds is not None and unit.replicas() is not None for unit in found.units)
        except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
            failed.append((json.dumps(one["spec"]), repr(error)))
    assert failed == []
