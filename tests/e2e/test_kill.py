"""Killed at any point, a request is brought to its end: nothing lost, nothing doubled, nothing guessed."""

import ast
import signal
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest
from e2e.fault_injection import INVARIANTS, Point, kill, now, observe, points, undisturbed, verdict
from e2e.flows import FLOWS
from e2e.kill_cases import DEPLOYMENTS, INSIDE, KILL_CASES
from e2e.random_load import RandomLoad
from e2e.scenario import Scenario
from effect_scan import BESIDE, IN_THE_MAIL, ON_THE_WAY

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("recover.reobserve")]

# A sample over all kinds of effects and all three ends; the long form stops everywhere.
SAMPLE = [
    ("provision", Point("ledger.accept", "after")),
    ("provision", Point("kube.create", "after")),
    ("provision", Point("kube.apply", "after")),
    ("deploy", Point("git.move", "before")),
    ("deploy", Point("child.merge", "during")),
    ("deploy", Point("git.move", "after")),
    ("deploy", Point("kube.apply", "after")),
    ("deploy", Point("ledger.finish", "before")),
    ("undo", Point("git.move", "after")),
    ("undo", Point("git.build", "after", 2)),
    ("undo", Point("kube.apply", "after", 2)),
    ("rollback", Point("ledger.accept", "after", 2)),
    ("rollback", Point("git.move", "after", 2)),
    ("rollback", Point("kube.apply", "after", 2)),
    ("rollback", Point("ledger.finish", "before", 2)),
    ("rollback", Point("ledger.finish", "after", 2)),
    ("restart", Point("kube.apply", "after")),
    ("restart", Point("ledger.finish", "before")),
    ("scale", Point("git.move", "after")),
    ("scale", Point("kube.apply", "before")),
    ("configure", Point("git.move", "after")),
    ("configure", Point("kube.apply", "after")),
    ("set", Point("git.move", "after", 1)),
    ("set", Point("kube.create", "after", 1)),
    ("set", Point("git.move", "after", 2)),
    ("set-undo", Point("kube.apply", "after", 2)),
    ("set-undo", Point("git.move", "after", 3)),
    ("mail", Point("ledger.mail.ask", "after")),
    ("mail", Point("ledger.mail.ack", "after")),
    ("mail", Point("ledger.mail.mark", "after")),
    ("attended", Point("ledger.mail.claim", "after")),
    ("attended", Point("kube.create", "after")),
    ("approved", Point("ledger.approval.give", "after")),
    ("approved", Point("ledger.approval.use", "after")),
    ("released", Point("ledger.mail.notified", "after")),
    ("released", Point("ledger.finish", "after")),
    ("waiting", Point("ledger.mail.notified", "after", 2)),
]
CORE = ("deploy", Point("git.move", "after"))  # the one of them that `make test` runs
ALL = KILL_CASES | FLOWS


@pytest.fixture
async def quiet(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario whose server is not running yet."""
    async with _manned(cluster_setup, tmp_path) as made:
        yield made


def _manned(cluster_setup, home):
    """A scenario with releases, attending and approvals in its policy."""
    scenario = Scenario(cluster_setup, home, serve=False)
    scenario.policy = RandomLoad.policy(scenario)
    return scenario


@pytest.mark.parametrize(
    ("name", "at"),
    [pytest.param(*one, id=f"{one[0]}-{one[1]}", marks=[pytest.mark.core] * (one == CORE)) for one in SAMPLE],
)
@pytest.mark.promise("git.first", "report.ack", "intake.saved-first")
async def test_a_killed_server_leaves_nothing_undone_and_nothing_done_twice(quiet, name, at):
    assert await kill(quiet, ALL[name], at, 1) == []


@pytest.mark.promise("git.first")
@pytest.mark.parametrize("name", ["deploy", "scale", "provision"])
async def test_a_server_killed_before_its_commit_is_on_the_branch_has_written_nothing_to_the_cluster(quiet, name):
    case, seen = KILL_CASES[name], []

    def live(scenario):
        deployment = scenario.live_object("deployment", "docs", scenario.namespace)
        return deployment["metadata"]["generation"], scenario.live_object("namespace", case.place(scenario, 1)) is None

    before = live(quiet)
    at = Point("git.move", "before")
    assert await kill(quiet, case, at, 1, between=lambda scenario: seen.append(live(scenario))) == []
    assert seen == [before]


async def test_a_server_killed_again_while_it_recovers_leaves_the_next_one_to_finish(quiet):
    assert await kill(quiet, KILL_CASES["deploy"], Point("git.move", "after"), 1, again=4) == []


@pytest.mark.promise("apply.locks")
async def test_a_server_killed_with_many_requests_under_way_brings_each_to_its_end(quiet):
    since, names = now(quiet), [quiet.fresh(f"m{number}") for number in range(5)]
    calls = [partial(quiet.tool, "provision_namespace", namespace=name, pull_secrets=["X"]) for name in names]
    calls.append(partial(quiet.tool, "deploy", app="docs", version="1.0.0"))
    await quiet.start(partial(observe, str(quiet.home / "points"), Point("kube.apply", "before", 4)))

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(undisturbed, call)
        assert await quiet.gone(60) == -signal.SIGKILL
        group.cancel_scope.cancel()
    await quiet.start()
    for call in calls:  # as clients do that never heard of it: the same again
        reply = await call()
        assert reply.ok, reply.text
    await quiet.settled()
    await quiet.stop()

    inside = [path.format(name) for name in names for path in INSIDE]
    assert await verdict(quiet, [*inside, DEPLOYMENTS.format(quiet.namespace)], since) == []


async def test_the_ways_pass_every_effect_there_is_on_a_request_s_way_and_in_the_mail(quiet):
    fired = set()
    for number, name in enumerate(
        [*FLOWS, *KILL_CASES], 1
    ):  # after those whose mail is judged, those without a journal
        fired |= {point.effect for point in await points(quiet, ALL[name], number)}
    assert {name for name in fired if not name.startswith("child.")} - BESIDE == ON_THE_WAY | IN_THE_MAIL


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ALL)
async def test_a_server_killed_at_any_point_leaves_nothing_undone_and_nothing_done_twice(quiet, name):
    found = await points(quiet, ALL[name])
    faults, known = {}, set()
    for number, at in enumerate(found, 1):
        wrong = set(await kill(quiet, ALL[name], at, number)) - known
        sys.stderr.write(f"{name} {at}: {'; '.join(sorted(wrong)) or 'ok'}\n")
        faults |= {str(at): wrong} if wrong else {}
        known |= wrong
    assert faults == {}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [*KILL_CASES, "approved", "released"])
async def test_a_recovery_killed_at_any_point_leaves_the_next_one_to_finish(quiet, name):
    other = {
        "undo": Point("kube.apply", "before", 2),
        "rollback": Point("git.move", "after", 2),
        "restart": Point("kube.apply", "before"),
    }
    at = other.get(name, Point("git.move", "after"))
    faults = {}
    for nth in range(1, 100):
        try:
            wrong = await kill(quiet, ALL[name], at, nth, again=nth)
        except EOFError:
            break  # the recovery has no more points than that
        sys.stderr.write(f"{name} {at}, and at point {nth} of the recovery: {'; '.join(wrong) or 'ok'}\n")
        faults |= {str(nth): wrong} if wrong else {}
    assert faults == {}
    assert nth > 5


def test_the_judge_takes_nothing_from_the_product():
    tree = ast.parse(Path(INVARIANTS).read_text(encoding="utf-8"))
    taken = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    taken |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert taken <= sys.stdlib_module_names
