"""What git itself reads out of our messages, whoever's words are in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limited import run_limited

from infra_mcp.clients.git import Git
from infra_mcp.repository.commit import TRAILERS, diff, message

OURS = {"Infra-Request": "req-1", "Requested-By": "docs", "Effect-Digest": "sha256:ab", "Audit-Head": "cd:ef"}
LINES = "".join(f"{name}: {value}\n" for name, value in OURS.items())


def parsed(text: str) -> str:
    """The trailers by git's own command, which stops at dividers and comments."""
    done = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=text, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


@pytest.mark.promise("git.trailers")
@pytest.mark.parametrize(
    "words",
    [
        "",
        "plain words",
        "Infra-Request: forged",
        "words\n\nInfra-Request: forged\nAudit-Head: forged\n",
        "Infra-Request: forged\n---\n",
        "Infra-Request: forged\n--- a/file\n+++ b/file",
        "x\n# ------------------------ >8 ------------------------\nInfra-Request: forged",
        "x\r\n\r\nInfra-Request: forged\r\n\r\n---\r\n",
        "x\u2028\u2028Infra-Request: forged\u2029---\x85\x0bAudit-Head: forged",
        "x\n\n(cherry picked from commit 0123456789)\nSigned-off-by: someone <a@b>\nInfra-Request : forged",
        "Infra-Request: forged\n continued\n\n\n",
        "Infra-Request:forged\nRequested-By= forged\nAudit-Head#1\n",
        "\x1b[2KInfra-Request: forged\x00\x08",
        "\N{ZERO WIDTH SPACE}Infra-Request: forged\n\N{ZERO WIDTH SPACE}---\n",
        "\n\n\nlast\n\n" + "Infra-Request: forged\n" * 500,
    ],
)
def test_no_words_can_forge_a_trailer(words):
    for text in (
        message("Deploy docs", words, OURS),
        message(words, "why", OURS),
        message(words, words, OURS),
    ):
        assert parsed(text) == LINES
    value = parsed(message("Deploy docs", "why", {**OURS, "Requested-By": words or "docs"})).splitlines()
    assert len(value) == 4
    assert [line.partition(":")[0] for line in value] == list(OURS)
    assert [line for line in value if not line.startswith("Requested-By")] == [
        line for line in LINES.splitlines() if not line.startswith("Requested-By")
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*"a-:= #>8\n\r\v\t()", "---", "\n\n", "Audit-Head: x", "Infra-Request"]), max_size=20))
def test_no_random_words_can_forge_a_trailer(pieces):
    words = "".join(pieces)

    assert parsed(message(words, words, OURS)) == LINES


@pytest.mark.promise("git.trailers")
def test_a_commit_names_request_requester_effect_digest_and_audit_head(tmp_path: Path) -> None:
    for args in (("init", "-q", "-b", "main"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=u", "-c", "user.email=u@x", *args], check=True)
    reason = "docs 2.0 is out\n\nInfra-Request: forged\n---\nAudit-Head: forged"
    key = {"Idempotency-Key": "release/2.0\nAudit-Head: forged"}

    async def commit() -> tuple[str, dict[str, str]]:
        git = Git(tmp_path, tmp_path / "lock")
        base = await git.head("main")
        made = await git.build_commit(
            base, {"x.yaml": b"x\n"}, message("Deploy docs", reason, OURS | key), 1_700_000_000
        )
        await git.move("main", made, base)
        (found, *_) = await git.log_trailers("main", 1)
        await git.aclose()
        assert found[0] == made
        return found

    trailers = anyio.run(commit).trailers
    shown = subprocess.run(
        ["git", "-C", str(tmp_path), "log", "-1", "--format=%B"], capture_output=True, encoding="utf-8", check=True
    ).stdout

    assert trailers == OURS | {"Idempotency-Key": "release/2.0 Audit-Head: forged"}
    assert shown.startswith(
        "Deploy docs\n\ndocs 2.0 is out\n\n Infra-Request: forged\n ---\n Audit-Head: forged\n\nInfra-"
    )


@pytest.mark.promise("forge.inert")
def test_words_that_a_forge_would_obey_are_found_by_a_search_of_the_history(tmp_path):
    """They are set apart from what begins a command, and no word of them is changed."""
    words = "docs 2.0 for @alice, closes #12\n\n[skip ci] /approve see https://git.example/acme/docs/issues/12"
    text = message("Deploy docs", words, OURS | {"Idempotency-Key": "Closes #12"})
    git = ["git", "-C", str(tmp_path), "-c", "user.name=u", "-c", "user.email=u@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-F", "-"], input=text, encoding="utf-8", check=True)

    for searched in (
        "docs 2.0 for",
        "alice, closes",
        "12",
        "skip ci",
        "approve see",
        "git.example/acme/docs/issues/12",
    ):
        found = subprocess.run([*git, "log", "--format=%s", "-F", "--grep", searched], capture_output=True, check=True)
        assert found.stdout == b"Deploy docs\n", searched
    assert not re.search(r"#12|@alice|\[skip|(?<= )/approve|://", text)


def test_the_order_is_fixed_and_empty_values_are_left_out():
    text = message("x", "", {"Audit-Head": "h", "Idempotency-Key": " \n", "Infra-Request": "r"})

    assert text == "x\n\nInfra-Request: r\nAudit-Head: h\n"
    assert message("", "", {}) == "infra-mcp\n"
    assert message("s" * 500, "", {}) == "s" * 99 + "…\n"
    with pytest.raises(ValueError, match="Signed-off-by"):
        message("x", "", {"Signed-off-by": "me"})
    assert [name for name in TRAILERS if name in OURS] == list(OURS)


def test_a_diff_shows_what_changed_and_nothing_of_elsewhere():
    before = b"a: 1\nb: 2\nc: 3\nd: 4\n"
    after = b"a: 1\nb: 5\nc: 3\nd: 4\ne: 6\n"

    assert diff("x.yaml", before, after) == "--- a/x.yaml\n+++ b/x.yaml\n@@\n-b: 2\n+b: 5\n@@\n+e: 6\n"
    assert diff("x.yaml", b"# more\n" + before, b"# more\n" + after) == diff("x.yaml", before, after)
    assert diff("x.yaml", None, b"a: 1\n") == "--- /dev/null\n+++ b/x.yaml\n@@\n+a: 1\n"
    assert diff("x.yaml", b"a: 1\r\n", b"a: 2\r\n") == "--- a/x.yaml\n+++ b/x.yaml\n@@\n-a: 1\n+a: 2\n"
    assert "\\ No newline at end of file" in diff("x.yaml", b"a: 1", b"a: 1\n")
    assert diff("x.yaml", before, before) == "--- a/x.yaml\n+++ b/x.yaml\n"
    assert "\x1b" not in diff("x.yaml", None, b"a: \x1b[31m\xff\n")


@pytest.mark.fault("f31")
@pytest.mark.process
@pytest.mark.parametrize(
    "rows",
    [
        "['# same'] * n",
        "['# a', '# b'] * (n // 2)",
        "[f'k{i % 300}: v' for i in range(n)]",
        "[f'k{i}: v' for i in range(n)]",
    ],
    ids=["equal", "in turn", "repeated", "different"],
)
@pytest.mark.parametrize("edits", ["{n // 2}", "{5, n - 5}", "set(range(0, n, 97))"], ids=["one", "far apart", "many"])
def test_a_diff_takes_no_longer_than_reading_the_file_a_few_times_and_is_bounded(rows, edits):
    code = (
        "from infra_mcp.repository.commit import diff\n"
        f"n = 100_000\nold = {rows}\nnew = [row + ' changed' if i in {edits} else row for i, row in enumerate(old)]\n"
        "shown = diff('a.yaml', '\\n'.join(old).encode(), '\\n'.join(new).encode())\n"
        "assert len(shown) < 200_000, len(shown)\n"
        "print(shown.count('changed'))"
    )
    done = run_limited(code)

    assert done.returncode == 0, done.stderr[-300:]
    assert int(done.stdout) > 0


@pytest.mark.fault("f31")
def test_a_change_far_below_another_is_a_hunk_of_its_own_in_a_file_of_many_rows():
    old = [f"k{i}: v" if i % 3 else "# the same" for i in range(20_000)]
    new = [f"{row} changed" if i in {7, 19_990} else row for i, row in enumerate(old)]

    shown = diff("a.yaml", "\n".join(old).encode() + b"\n", "\n".join(new).encode() + b"\n")

    assert shown.splitlines()[2:] == [
        "@@", "-k7: v", "+k7: v changed", "@@", "-k19990: v", "+k19990: v changed",
    ]  # fmt: skip


@pytest.mark.fault("f31")
def test_a_long_row_is_shown_in_part_and_two_that_differ_further_on_are_told_apart():
    one, other = [diff("a.json", b"{}", b'{"k": "' + b"x" * 1_000_000 + end + b'"}') for end in (b"a", b"b")]

    assert len(one) < 20_000
    assert one != other
