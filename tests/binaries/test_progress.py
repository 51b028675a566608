import io

import pytest

from infra_mcp.binaries.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40.4, "40 s"), (89, "89 s"), (100, "2 min"), (540, "9 min"), (3900, "1 h 5 min")],
)
def test_durations_are_short_and_rounded(seconds, text):
    assert duration(seconds) == text


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds_with_the_time_left():
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock)
    for second in range(31):
        clock.now = 100.0 + second
        progress.update("building", second, 120)
    assert out.getvalue().splitlines() == [
        "building: 0%",
        "building: 8%, about 2 min left",
        "building: 17%, about 2 min left",
        "building: 25%, about 2 min left",
    ]


def test_on_a_terminal_one_line_is_redrawn_and_leaves_nothing_behind():
    out, clock = Terminal(), Clock()
    progress = Progress(out, clock)
    for tenth in range(11):
        clock.now = 100.0 + tenth
        progress.update("fetching", tenth, 10, "MB")
    progress.say("done")
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\r\x1b[Kdone\n")
    assert "fetching: 50% (5 of 10 MB), about 5 s left" in text


def test_another_task_has_its_own_time():
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock)
    progress.update("first", 1, 2)
    clock.now += 100
    progress.update("second", 0, 2)
    clock.now += 10
    progress.update("second", 1, 2)
    assert out.getvalue().splitlines()[-1] == "second: 50%, about 10 s left"


def test_a_task_of_unknown_length_shows_a_count_and_no_estimate():
    out = io.StringIO()
    Progress(out, Clock()).update("fetching the sources", 17, 0, "modules")
    assert out.getvalue() == "fetching the sources: 17 modules\n"


def test_progress_without_a_stream_writes_nothing():
    progress = Progress()
    progress.update("x", 1, 2)
    progress.say("y")
    progress.close()
