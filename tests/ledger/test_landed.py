"""What runs by the ledger: the version that landed last, without those that were rolled back since."""

import pytest

from infra_mcp.model.actions import Rollback
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("rollback.request", "notify.order")]


@pytest.fixture
def ends(ledger, accept, receipt):
    """Takes a request in and ends it; its id. A text is a version of docs, or the request to roll back."""

    async def run(what, state=State.LANDED, **given):
        action = what
        if isinstance(what, str):
            action = Rollback(request=what) if what.startswith("req-") else Deploy(app="docs", version=what)
        taken = await accept(ledger, action, **given)
        await ledger.finish(taken.request.id, receipt(taken.request, state), {})
        return taken.request.id

    return run


async def test_a_version_that_was_rolled_back_does_not_count_and_the_one_before_does(ledger, ends):
    await ends("1.0.0")
    second = await ends("1.1.0")
    back = await ends(second)

    assert await ledger.landed_version("docs") == "1.0.0"
    assert await ledger.rolled_back("docs", "1.1.0") == back
    assert await ledger.rolled_back("docs", "1.0.0") is None
    assert await ledger.rolled_back("other", "1.1.0") is None
    first = (await ledger.recent("docs", 9))[-1]
    assert await ledger.landed_version("docs") == first.action.version


async def test_the_only_version_that_was_rolled_back_leaves_none(ledger, ends):
    await ends(await ends("1.0.0"))

    assert await ledger.landed_version("docs") is None


@pytest.mark.parametrize("state", [State.FAILED, State.REFUSED, State.ROLLED_BACK, State.PREVIEWED])
async def test_a_rollback_that_did_not_land_changes_nothing(ledger, ends, state):
    made = await ends("1.0.0")
    await ends(made, state)

    assert await ledger.landed_version("docs") == "1.0.0"
    assert await ledger.rolled_back("docs", "1.0.0") is None
    assert await ledger.rolled_back_by([made]) == {}


async def test_the_rollback_of_a_rollback_brings_the_version_again_and_a_third_takes_it_away(ledger, ends):
    await ends("1.0.0")
    one = await ends(await ends("1.1.0"))
    assert await ledger.landed_version("docs") == "1.0.0"
    await ends("1.0.0", State.UNCHANGED)
    two = await ends(one)
    assert await ledger.landed_version("docs") == "1.1.0", "though 1.0.0 was found there between"
    assert await ledger.rolled_back("docs", "1.1.0") is None
    three = await ends(two)

    assert await ledger.landed_version("docs") == "1.0.0"
    assert await ledger.rolled_back("docs", "1.1.0") == three


@pytest.mark.parametrize("state", [State.LANDED, State.UNCHANGED])
async def test_a_version_that_was_deployed_again_is_no_longer_rolled_back(ledger, ends, state):
    await ends(await ends("1.1.0"))
    await ends("1.1.0", state)

    assert await ledger.landed_version("docs") == "1.1.0"
    assert await ledger.rolled_back("docs", "1.1.0") is None


async def test_an_earlier_deploy_of_a_version_does_not_bring_it_back(ledger, ends):
    made = await ends("1.1.0")
    await ends("1.1.0", State.UNCHANGED)
    back = await ends(made)

    assert await ledger.landed_version("docs") is None
    assert await ledger.rolled_back("docs", "1.1.0") == back


async def test_the_rollback_of_another_action_takes_no_version_away(ledger, ends):
    await ends("1.0.0")
    await ends(await ends(Scale(app="docs", replicas=2)))

    assert await ledger.landed_version("docs") == "1.0.0"


async def test_the_rollback_by_another_circle_is_about_no_app(ledger, ends, shop):
    made = await ends("1.0.0")
    await ends(made, State.REFUSED, caller=shop)

    assert (await ledger.recent("shop", 1))[0].action == Rollback(request=made)
    assert await ledger.rolled_back("docs", "1.0.0") is None


@pytest.mark.promise("audit.both-ways")
async def test_the_trail_of_a_request_says_which_one_rolled_it_back_and_the_ledger_is_consistent(ledger, ends):
    made = await ends("1.0.0")
    before = (await ledger.request(made)).receipt
    back = await ends(made)

    last = (await ledger.trail(made))[-1]
    assert (last.kind, last.data["by"], last.state) == ("rolled-back", back, None)
    assert await ledger.rolled_back_by([made, back]) == {made: back}
    assert (await ledger.request(made)).receipt == before
    assert (await ledger.request(made)).state is State.LANDED
    assert (await ledger.verify([])).consistent


async def test_each_environment_has_its_own_version_and_its_own_rollbacks(ledger, ends):
    await ends(Deploy(app="docs", version="1.0.0"))  # when it had only one
    await ends(Deploy(app="docs", version="1.2.0", environment="staging"))
    second = await ends(Deploy(app="docs", version="1.1.0", environment="production"))

    assert await ledger.landed_version("docs", "staging") == "1.2.0"
    assert await ledger.landed_version("docs", "production") == "1.1.0"
    assert await ledger.landed_version("docs", "demo") == "1.0.0"
    assert await ledger.landed_version("docs") == "1.1.0"
    back = await ends(second)
    assert await ledger.landed_version("docs", "production") == "1.0.0"
    assert await ledger.rolled_back("docs", "1.1.0", "production") == back
    assert await ledger.rolled_back("docs", "1.1.0", "staging") is None
    assert await ledger.landed_version("docs", "staging") == "1.2.0"
