import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.policy.grammar import bytes_of, is_image, matches, millicores, protected, repository, seconds


@pytest.mark.parametrize(
    ("pattern", "value", "does"),
    [
        ("docs-*", "docs-staging", True),
        ("docs-*", "xdocs-staging", False),
        ("docs-*", "docs", False),
        ("*-prod", "docs-prod", True),
        ("*-prod", "docs-prod-2", False),
        ("docs", "docs-2", False),
        ("*", "anything at all", True),
        ("d?cs", "docs", False),
        ("[d]ocs", "docs", False),
        ("d.cs", "docs", False),
        ("docs-*", "docs-a\n", True),  # a name never holds a newline; the pattern is about the whole value
        ("docs", "docs\n", False),
    ],
)
def test_only_the_star_is_special_and_the_whole_value_must_match(pattern, value, does):
    assert matches(pattern, value) is does


@given(st.text(alphabet="abc-*", max_size=12), st.text(alphabet="abc-", max_size=12))
def test_a_pattern_matches_what_a_slow_matcher_says(pattern, value):
    def slow(pattern: str, value: str) -> bool:
        if not pattern:
            return not value
        if pattern[0] == "*":
            return slow(pattern[1:], value) or (bool(value) and slow(pattern, value[1:]))
        return bool(value) and pattern[0] == value[0] and slow(pattern[1:], value[1:])

    assert matches(pattern, value) is slow(pattern, value)


@pytest.mark.parametrize(
    "namespace", ["kube-system", "kube-public", "kube-node-lease", "kube-x", "default", "infra-mcp"]
)
def test_protected_namespaces_are_known(namespace):
    assert protected(namespace, "infra-mcp")


@pytest.mark.parametrize("namespace", ["kubernetes", "docs-default", "infra-mcp-2", "prod"])
def test_names_that_only_look_protected_are_not(namespace):
    assert not protected(namespace, "infra-mcp")


@pytest.mark.parametrize(
    "reference",
    ["a:1", "registry.example/docs/site:0.13.4", "localhost:5000/a_b/c--d:x", "docker.io/library/nginx:1.27"],
)
def test_image_references_of_the_oci_grammar_pass(reference):
    assert is_image(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "", "a", "a:", ":1", "a:1@sha256:bad", "a b:1", "http://a/b:1", "A:1", "a:-1", "a/../b:1", "a//b:1", "a:1\n",
        "/a:1", "a:1:2", "a:" + "x" * 129, "r/" + "a" * 500 + ":1",
    ],
)  # fmt: skip
def test_what_is_no_image_reference_does_not(reference):
    assert not is_image(reference)


def test_a_repository_keeps_its_port():
    assert repository("localhost:5000/a/b:1") == "localhost:5000/a/b"
    assert repository("localhost:5000/a/b") == "localhost:5000/a/b"


def test_quantities_compare_by_size_not_by_text():
    assert [millicores(one) for one in ("500m", "0.5", "1.25", "20")] == [500, 500, 1250, 20_000]
    assert [bytes_of(one) for one in ("1024Ki", "1Mi", "2Gi")] == [2**20, 2**20, 2**31]
    assert [seconds(one) for one in ("30s", "10m", "1h")] == [30.0, 600.0, 3600.0]
