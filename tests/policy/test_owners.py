"""Who owns a path: the patterns mean what git means by them, and the most particular one decides."""

import subprocess

import pytest

from infra_mcp.policy.owners import covers, nearest
from infra_mcp.policy.policy import load

PATHS = (
    "a.yaml",
    "apps/media/jellyfin/app/release.yaml",
    "apps/media/readme",
    "apps/media.yaml",
    "apps/web/values.yaml",
    "apps/web/values-prod.yaml",
    "apps/web/deep/er/values.yaml",
    "media/x",
    "x/media/y/z",
    "x+y/[z].yaml",
)
PATTERNS = (
    "apps",
    "apps/media",
    "apps/media/**",
    "apps/*",
    "apps/*/*",
    "apps/**/values.yaml",
    "apps/**/deep/**",
    "**/media/**",
    "**/values*.yaml",
    "**",
    "*",
    "*.yaml",
    "apps/web/values-*.yaml",
    "apps/web/v**s.yaml",
    "**/**/z",
    "a*/m*a/*",
    "x+y",
    "x+y/*",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("owned")
    subprocess.run(["git", "init", "-q", folder], check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("", encoding="utf-8")
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_about_what_git_takes_it_for(checkout, pattern):
    asked = ["git", "-C", checkout, "ls-files", "-z", "--", f":(glob){pattern}"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = {path for path in listed.split("\0") if path}

    assert {path for path in PATHS if covers(pattern, path)} == found


def test_the_pattern_with_the_most_characters_decides():
    patterns = [("**", "all"), ("apps/**", "platform"), ("apps/media/**", "media"), ("apps/*/readme", "docs")]

    assert nearest(patterns, "apps/media/readme") == "docs"
    assert nearest(patterns, "apps/media/x/y") == "media"
    assert nearest(patterns, "apps/web/x") == "platform"
    assert nearest(patterns, "x") == "all"
    assert nearest([], "x") is None
    # Of equal ones that without a wildcard, then the first.
    assert nearest([("a/*/b", "one"), ("a/x*b", "two")], "a/x/b") == "one"
    assert nearest([("ab/**", "one"), ("ab/", "none"), ("*ab/c", "three")], "ab/c") == "three"
    assert nearest([("*a/b*", "one"), ("a/b", "two")], "a/b") == "two"
    assert nearest([("*a/b", "one"), ("a/b*", "two")], "a/b") == "one"


def test_many_stars_take_no_time():
    assert not covers("/".join(["**", "a"] * 60), "/".join(["a"] * 59 + ["b"]))


POLICY = """
[[owners]]
paths = ["apps/media/**", "shared/media.yaml"]
owner = "media"
[[owners]]
paths = ["apps/**"]
owner = "platform"
[apps.jellyfin]
file = "apps/media/jellyfin"
[apps.mixed]
[apps.mixed.environments.production]
at = ["apps/media/mixed/prod.yaml#tag", "apps/other/prod.yaml"]
[apps.site]
owner = "site"
file = "apps/media/site"
"""


def test_an_app_without_an_owner_is_the_owners_of_its_files():
    policy = load(POLICY)

    assert policy.owner_of("apps/media/x.yaml") == "media"
    assert policy.owner_of("apps/web/x.yaml") == "platform"
    assert policy.owner_of("clusters/x.yaml") is None
    assert policy.owner_of_app("jellyfin") == "media"
    assert policy.owner_of_app("mixed") is None  # two own its files
    assert policy.owner_of_app("site") == "site"
    assert policy.owner_of_app("unknown") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[apps.a]\nfile = 'a'", "apps.a.owner is missing"),
        ("[[owners]]\nowner = 'a'", "owners.0.paths is missing"),
        ("[[owners]]\nowner = 'a'\npaths = []", "owners.0.paths"),
        ("[[owners]]\npaths = ['a']", "owners.0.owner is missing"),
        ("[[owners]]\nowner = 'a'\npaths = ['/a']", "owners.0.paths.0 must be a path inside"),
        ("[[owners]]\nowner = 'a'\npaths = ['a/../b']", "owners.0.paths.0 must be a path inside"),
        ("[[owners]]\nowner = 'a'\npaths = ['a[b]']", "owners.0.paths.0"),
        ("[[owners]]\nowner = 'a'\npaths = ['a?']", "owners.0.paths.0"),
        ("[[owners]]\nowner = 'a'\npaths = ['!a', '']", "owners.0.paths.1"),
        (
            "[[owners]]\nowner = 'a'\npaths = ['x']\n[[owners]]\nowner = 'b'\npaths = ['y', 'x']",
            "owners.1.paths: one of them has another owner already",
        ),
    ],
)
def test_wrong_owners_are_named(problem, text, says):
    assert says in problem(text)
