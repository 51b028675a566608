"""What a kustomization builds is told apart from what is applied as it stands."""

from __future__ import annotations

import pytest

from infra_mcp.repository.layout import governed

PATHS = ["a.yaml", "base/web.yaml", "base/deep/x.yaml", "other/y.yaml", "other/z.yaml"]


def test_a_kustomization_has_its_folder_what_is_below_and_what_it_names():
    found = governed({"base/kustomization.yaml": b"resources: [web.yaml, ../other/y.yaml, https://x/y.yaml]\n"}, PATHS)

    assert found == dict.fromkeys(["base/web.yaml", "base/deep/x.yaml", "other/y.yaml"], "base/kustomization.yaml")


def test_a_kustomization_at_the_top_has_everything():
    assert governed({"kustomization.yml": b""}, PATHS) == dict.fromkeys(PATHS, "kustomization.yml")
    assert governed({"base/Kustomization": b"resources: ['..']\n"}, PATHS)["a.yaml"] == "base/Kustomization"


@pytest.mark.parametrize(
    "text", [b"a: [", b"- x", b"resources: 5", b"resources: [{a: 1}, 3, ../../..]", b"bases: null"]
)
def test_a_kustomization_that_is_broken_still_has_its_folder(text):
    assert sorted(governed({"other/kustomization.yaml": text}, PATHS)) == ["other/y.yaml", "other/z.yaml"]
