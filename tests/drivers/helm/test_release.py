import pytest

pytestmark = pytest.mark.anyio


async def test_a_release_is_installed_upgraded_and_then_already_so(helm_space):
    first, second = helm_space.declared(), helm_space.declared(greeting="goodbye")
    async with helm_space.connect() as driver:
        plan = await driver.plan(helm_space.context(), helm_space.change({}, first))
        await driver.apply(helm_space.context(), plan)
        again = await driver.plan(helm_space.context(), helm_space.change(first, first))
        assert again.writes == ()
        plan = await driver.plan(helm_space.context(), helm_space.change(first, second))
        await driver.apply(helm_space.context(), plan)
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.restored == (f"{helm_space.name}/release/web",)
