"""A masked place moves along with the one that decides only where no other instance reads it."""

import pytest

SITE = "registry.example/docs/site"
BASE = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: docs}}
spec:
  template:
    spec:
      containers:
        - name: web
          image: {SITE}:1.4.0
"""


def _overlay(name, tag=None):
    images = f"images:\n  - name: {SITE}\n    newTag: {tag}\n" if tag else ""
    return {f"overlays/{name}/kustomization.yaml": f"namespace: docs-{name}\nresources: [../../base]\n{images}"}


def _files(**tags):
    base = {"base/kustomization.yaml": "resources: [docs.yaml]\n", "base/docs.yaml": BASE}
    return base | {path: text for name, tag in tags.items() for path, text in _overlay(name, tag).items()}


@pytest.mark.promise("repos.instances", "repos.locator")
def test_a_masked_place_that_another_instance_reads_stays(census, deployed):
    changed, notes = deployed(census(_files(staging="1.4.0", production=None)), "docs", "1.5.0", "staging")

    assert changed == _overlay("staging", "1.5.0")
    assert any("base/docs.yaml" in note and "stays at 1.4.0" in note for note in notes)


@pytest.mark.promise("repos.locator")
def test_a_masked_place_of_the_only_instance_moves_along_and_is_named(census, deployed):
    changed, notes = deployed(census(_files(production="1.4.0")), "docs", "1.5.0")

    assert changed == _overlay("production", "1.5.0") | {"base/docs.yaml": BASE.replace("1.4.0", "1.5.0")}
    assert any("base/docs.yaml" in note and "moves along" in note for note in notes)


@pytest.mark.promise("repos.locator")
def test_a_masked_place_of_another_version_stays(census, deployed):
    changed, notes = deployed(census(_files(production="1.4.7")), "docs", "1.5.0")

    assert changed == _overlay("production", "1.5.0")
    assert any("base/docs.yaml" in note and "stays at 1.4.0" in note for note in notes)
