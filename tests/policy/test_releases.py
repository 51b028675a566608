import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infra_mcp.model.peer import Caller
from infra_mcp.model.request import OPEN, State
from infra_mcp.policy.policy import Policy, load
from infra_mcp.policy.releases import Older, Release, Same, Take, decide, match, render
from infra_mcp.policy.sections import AppRules

MESSAGE = "release/0.13.4 merged, ready to deploy"
FIRST = string.ascii_letters + string.digits + "_"
VERSIONS = st.builds(str.__add__, st.sampled_from(FIRST), st.text(FIRST + ".-", max_size=127))
LITERAL = st.text(st.characters(codec="utf-8", exclude_characters="{}", exclude_categories=["Cc", "Cs"]), max_size=20)
TWO = """
[circles.docs]
namespaces = ["docs-*"]
[apps.site]
owner = "docs"
workload = "docs-live/deployment/site"
image = "registry.example/docs/site:{version}"
deploy_on = "release/{version} merged, ready to deploy"
[apps.search]
owner = "docs"
workload = "docs-live/deployment/search"
image = "registry.example/docs/search:{version}"
deploy_on = "release/{version} merged, ready to deploy"
[apps.elsewhere]
owner = "docs"
workload = "shop-live/deployment/elsewhere"
image = "registry.example/docs/search:{version}"
deploy_on = "release/{version} merged, ready to deploy"
[apps.quiet]
owner = "docs"
workload = "docs-live/deployment/quiet"
image = "registry.example/docs/quiet:{version}"
"""


def taken(policy, docs, template, text) -> list[Release]:
    app = policy.apps["docs"].model_copy(update={"deploy_on": template})
    return match(policy.model_copy(update={"apps": {"docs": app}}), docs, text)


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize("text", [MESSAGE, MESSAGE + "\n", MESSAGE + "\r\n", f"  {MESSAGE}\t ", "\n\n" + MESSAGE])
def test_the_whole_message_with_a_version_in_it_is_a_release(policy, docs, text):
    assert match(policy, docs, text) == [Release("docs", "0.13.4")]


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    "text",
    [
        "release/0.13.4 merged, do NOT deploy yet",
        "do NOT deploy: release/0.13.4 merged, ready to deploy",
        MESSAGE + ".",
        MESSAGE + " - not yet",
        MESSAGE + "\n\nPS: not before Monday",
        MESSAGE + "\n" + MESSAGE,
        MESSAGE + "\u00a0",
        MESSAGE + "\x00",
        "\ufeff" + MESSAGE,
        MESSAGE.upper(),
        "Release/0.13.4 merged, ready to deploy",
        "release/0.13.4  merged, ready to deploy",
        "release/0.13.4\nmerged, ready to deploy",
        "release/ merged, ready to deploy",
        "release/0.13.4 and 0.13.5 merged, ready to deploy",
        "release/0.13.4 merged, not really. release/0.13.5 merged, ready to deploy",
        "release/-rf merged, ready to deploy",
        "release/.. merged, ready to deploy",
        "release/a/b merged, ready to deploy",
        "release/1;id merged, ready to deploy",
        "release/$(id) merged, ready to deploy",
        "release/1\n merged, ready to deploy",
        "release/0.13.4@sha256:0 merged, ready to deploy",
        "release/é merged, ready to deploy",
        "release/\u0661 merged, ready to deploy",
        "release/{version} merged, ready to deploy",
        "release/" + "1" * 129 + " merged, ready to deploy",
        "release/ready to deploy",
        "",
        "\n",
    ],
)
def test_anything_else_is_no_release(policy, docs, text):
    assert match(policy, docs, text) == []


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("name", "circle", "found"),
    [
        ("docs", "docs", ["search", "site"]),
        ("docs", "shop", []),  # a peer of the same name in another circle
        ("docs", None, []),
        ("docs-2", "docs", []),
        ("Docs", "docs", []),
    ],
)
def test_only_the_owner_releases_and_only_where_its_circle_reaches(name, circle, found):
    sender = Caller(name=name, circle=circle, strength="token")

    assert match(load(TWO + "[circles.shop]\n"), sender, MESSAGE) == [Release(app, "0.13.4") for app in found]


@pytest.mark.parametrize(
    ("template", "text", "version"),
    [
        ("v.* {version} $", "v.* 1 $", "1"),
        ("v.* {version} $", "vxx 1 ", None),
        ("({version})+", "(1)+", "1"),
        ("({version})+", "(1)(1)", None),
        ("{version}", "1.0", "1.0"),
        ("{version}", "two words", None),
        ("v{version}", "v1", "1"),
        ("v{version}", "vv1", "v1"),
        ("{version}x", "1xx", "1x"),
        ("aba{version}aba", "ababa", None),  # the two ends of the template may not share letters
        ("aba{version}aba", "aba1aba", "1"),
        (" {version} is out ", "1 is out", "1"),
        ("\\d{version}", "\\d1", "1"),
    ],
)
def test_the_text_of_a_template_means_itself(policy, docs, template, text, version):
    assert taken(policy, docs, template, text) == ([Release("docs", version)] if version else [])


@pytest.mark.promise("notify.catalogue")
@given(before=LITERAL, after=LITERAL, version=VERSIONS)
def test_a_message_that_was_made_from_the_template_gives_its_version(before, after, version):
    policy, docs = _with(before + "{version}" + after)

    assert match(policy, docs, render(before + "{version}" + after, version)) == [Release("docs", version)]


@pytest.mark.promise("notify.catalogue")
@given(before=LITERAL, after=LITERAL, version=VERSIONS, at=st.integers(0, 300), extra=st.text(min_size=1, max_size=3))
def test_a_message_with_anything_more_in_it_is_no_release_or_one_of_just_that_version(
    before, after, version, at, extra
):
    template = before + "{version}" + after
    policy, docs = _with(template)
    message = render(template, version)
    changed = message[:at] + extra + message[at:]
    assume(changed.strip(" \t\r\n") != message)

    for found in match(policy, docs, changed):
        assert render(template, found.version) == changed.strip(" \t\r\n")
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", found.version)


def _with(template: str) -> tuple[Policy, Caller]:
    app = AppRules.model_construct(
        owner="docs", workload="docs-live/deployment/docs", image="r.example/x:{version}", deploy_on=template
    )
    policy = load("[circles.docs]\nnamespaces = ['docs-*']").model_copy(update={"apps": {"docs": app}})
    return policy, Caller(name="docs", circle="docs", strength="token")


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(
    ("order", "version", "landed", "waiting", "result"),
    [
        ("semver", "0.13.4", None, [], Take()),
        ("semver", "0.13.4", "0.13.3", [], Take()),
        ("semver", "0.13.4", "0.13.4", [], Take()),
        ("semver", "0.13.4", "0.13.5", [], Older("0.13.5")),
        ("semver", "0.13.4", "0.13.10", [], Older("0.13.10")),
        ("semver", "0.13.4-rc.1", "0.13.4", [], Older("0.13.4")),
        ("semver", "0.13.5", "0.13.3", [("a", "0.13.4")], Take(("a",))),
        ("semver", "0.13.4", "0.13.3", [("a", "0.13.5")], Older("0.13.5")),
        ("semver", "0.13.4", "0.13.7", [("a", "0.13.5"), ("b", "0.13.9")], Older("0.13.9")),
        ("semver", "0.13.4", "0.13.3", [("a", "0.13.4")], Same("a")),
        ("semver", "0.13.5", None, [("a", "0.13.4"), ("b", "0.13.5")], Same("b")),
        (
            "semver",
            "v1.0.0",
            None,
            [("a", "1.0.0")],
            Take(("a",), "Taken in order of arrival: by semver, v1.0.0 is neither newer nor older than 1.0.0."),
        ),
        ("date", "2026-11-22", "20261121", [("a", "2026.11.22.1")], Older("2026.11.22.1")),
        ("date", "2026-11-23", "20261121", [("a", "2026.11.22.1")], Take(("a",))),
        ("arrival", "0.1.0", "9.9.9", [("a", "5.0.0")], Take(("a",))),
        ("arrival", "0.1.0", "0.1.0", [], Take()),
    ],
)
def test_newer_takes_the_place_older_is_refused_and_the_same_is_the_same(order, version, landed, waiting, result):
    assert decide(order, version, landed, [(*one, State.SCHEDULED) for one in waiting]) == result


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize("state", sorted(OPEN))
def test_only_what_waits_for_its_time_loses_its_place_here(state):
    found = decide("semver", "0.13.5", None, [("a", "0.13.4", state)])

    assert found == Take(("a",) if state is State.SCHEDULED else ())


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(("version", "landed", "waits"), [("nightly", "1.0.0", "1.1.0"), ("1.0.0", "nightly", "x")])
def test_what_the_order_cannot_read_is_taken_by_arrival_and_that_is_said(version, landed, waits):
    found = decide("semver", version, landed, [("a", waits, State.SCHEDULED)])

    note = f"Taken in order of arrival: by semver, {version} is neither newer nor older than {waits}, {landed}."
    assert found == Take(("a",), note)


def test_one_version_that_can_be_read_and_is_newer_is_enough_to_refuse():
    assert decide("semver", "1.0.0", "nightly", [("a", "2.0.0", State.APPLYING)]) == Older("2.0.0")


@pytest.mark.promise("notify.order")
@given(versions=st.lists(st.sampled_from(["0.1.0", "0.2.0", "0.10.0", "1.0.0-rc.1", "1.0.0", "odd"]), max_size=8))
def test_whatever_comes_in_whatever_order_one_release_waits_and_nothing_newer_was_dropped_for_it(versions):
    waiting: list[tuple[str, str, State]] = []
    for at, version in enumerate(versions):
        match decide("semver", version, None, waiting):
            case Take(supersedes):
                waiting = [one for one in waiting if one[0] not in supersedes]
                waiting.append((str(at), version, State.SCHEDULED))
            case Same(request_id):
                assert [one[1] for one in waiting if one[0] == request_id] == [version]
            case Older(than):
                assert than in [one[1] for one in waiting]
    assert len(waiting) == bool(versions)
    if versions and "odd" not in versions:
        rank = ["0.1.0", "0.2.0", "0.10.0", "1.0.0-rc.1", "1.0.0"]
        assert waiting[0][1] == max(versions, key=rank.index)


@pytest.mark.fault("f21")
@pytest.mark.parametrize(
    ("order", "version", "landed", "waits", "said"),
    [
        ("semver", "1.9", "1.10", [], Older("1.10")),
        ("semver", "1.10", "1.9", [], Take()),
        ("semver", "1.2", "1.2.0", [], "1.2.0"),
        ("semver", "nightly", "1.2.0", [], "1.2.0"),
        ("date", "release-7", "2026-11-22", [], "2026-11-22"),
        ("semver", "1.2.3", None, [("a", "v1.2.3")], "v1.2.3"),
    ],
)
def test_where_an_order_cannot_tell_two_versions_apart_the_note_names_them_and_it(order, version, landed, waits, said):
    found = decide(order, version, landed, [(one, its, State.SCHEDULED) for one, its in waits])

    if isinstance(said, str):
        assert all(word in found.note for word in (order, version, said, "arrival"))
    else:
        assert found == said


@pytest.mark.promise("notify.catalogue")
def test_an_app_is_released_to_each_environment_that_the_message_means():
    several = load(
        """
[circles.docs]
namespaces = ["docs-*"]
[apps.site]
owner = "docs"
file = "site"
deploy_on = "release/{version} merged"
[apps.site.environments.staging]
at = ["site/staging"]
[apps.site.environments.production]
at = ["site/production"]
deploy_on = "release/{version} is for production"
[apps.site.environments.demo]
at = ["site/demo"]
"""
    )
    docs = Caller(name="docs", circle="docs", strength="token")

    merged = match(several, docs, "release/1.5.0 merged")
    assert merged == [Release("site", "1.5.0", "staging"), Release("site", "1.5.0", "demo")]
    assert match(several, docs, "release/1.5.0 is for production") == [Release("site", "1.5.0", "production")]
