"""The connections to named places: each opened when first needed, and anew when policy says something else of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup, TaskStatus

from infra_mcp.drivers.base import Delivery, Driver, Setup
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.target import Target
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import Policy

_log = logging.getLogger(__name__)
_RETRY_AFTER = 5.0  # seconds until a place that could not be connected to is tried again


@dataclass
class _Open:
    """A connected driver, and by which settings it was connected."""

    driver: Driver
    settings: object


class Places:
    """Drivers by delivery and place. A place that is down fails those who ask for it, and nobody else.

    Args:
        setup: what drivers are connected with.
        deliveries: the deliveries there are.
    """

    def __init__(self, setup: Setup, deliveries: Mapping[str, Delivery] = DELIVERIES) -> None:
        self._setup = setup
        self._deliveries = deliveries
        self._open: dict[tuple[str, str], _Open] = {}
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self._group: TaskGroup | None = None
        self.trouble: dict[str, InfraError] = {}  # by place: why it cannot be worked with; by "": why nowhere can
        self.rights: dict[str, str] = {}  # by place, once looked at: what its login may that it should not

    async def keep(
        self,
        in_force: PolicyInForce,
        opened: Callable[[], None],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hold the connections until cancelled; those that the policy in force names are opened ahead.

        Args:
            in_force: the policy in force.
            opened: called whenever they are open.
            task_status: told when connections can be made.
        """
        async with anyio.create_task_group() as group:
            self._group = group
            task_status.started()
            while True:
                changed = in_force.changed()
                await self._open_ahead(in_force)
                if not self.trouble:
                    opened()
                with anyio.move_on_after(_RETRY_AFTER if self.trouble else None):
                    await changed.wait()

    async def _open_ahead(self, in_force: PolicyInForce) -> None:
        self.trouble.clear()
        try:
            policy = in_force.current()
        except InfraError as error:
            self.trouble[""] = error
            return
        for delivery, place in policy.places:
            with contextlib.suppress(InfraError):  # `trouble` says it
                await self.driver(policy, delivery, place)

    def system(self, delivery: str) -> str:
        """What holds the targets of a delivery."""
        return self._delivery(delivery).system

    def where(self, policy: Policy, delivery: str, place: str) -> str:
        """What a place's name stands for by the policy in force.

        Raises:
            InfraError: `policy-invalid`: it has no such place, or the delivery is not there yet.
        """
        return self._delivery(delivery).place(policy, place).where

    async def driver(self, policy: Policy, delivery: str, place: str) -> Driver:
        """The driver of a delivery at a place, connected if it is not yet.

        A connection made by settings that the policy has no more is left to those who work with it.

        Raises:
            InfraError: `policy-invalid`; what keeps it from being connected to, such as `setup-failed`.
        """
        made = self._delivery(delivery)
        wanted = made.place(policy, place).settings
        key = delivery, place
        async with self._locks.setdefault(key, anyio.Lock()):
            known = self._open.get(key)
            if known is not None and known.settings == wanted:
                return known.driver
            if self._group is None:
                raise InfraError("cluster-unreachable", "The server is not connected to its places yet.")
            try:
                driver: Driver = await self._group.start(self._hold, made, policy, place)
            except InfraError as error:
                self.trouble[place] = error
                raise
            except Exception as fault:  # a fault of ours keeps this place from being worked with, never the server
                _log.exception("Place %s cannot be connected to", place)
                what = "Internal error while connecting. The server's log has the details."
                self.trouble[place] = InfraError("internal", what)
                raise self.trouble[place] from fault
            self.trouble.pop(place, None)
            self._open[key] = _Open(driver, wanted)
            self.rights.pop(place, None)
            self._group.start_soon(self._look_at_rights, place, driver)
            return driver

    async def answer(self) -> bool:
        """Whether every place that was connected to answers now; not while one cannot be connected to."""
        if self.trouble or not self._open:
            return False
        return all(await gather(one.driver.answers for one in self._open.values()))

    async def _look_at_rights(self, place: str, driver: Driver) -> None:
        self.rights[place] = await driver.excess()
        if self.rights[place]:
            _log.warning("%s", self.rights[place])

    async def of(self, policy: Policy, target: Target) -> Driver:
        """The driver that reads a target: the first one of its system.

        Raises:
            InfraError: as `driver`.
        """
        name = next(one.name for one in self._deliveries.values() if one.system == target.system)
        return await self.driver(policy, name, target.place)

    def _delivery(self, name: str) -> Delivery:
        found = self._deliveries.get(name)
        if found is None:
            what = f"This version does not carry out the delivery {name}."
            raise InfraError("delivery-unsupported", what)
        return found

    async def _hold(self, made: Delivery, policy: Policy, place: str, *, task_status: TaskStatus[Driver]) -> None:
        with contextlib.suppress(anyio.get_cancelled_exc_class()):
            async with made.connect(self._setup, policy, place) as driver:
                task_status.started(driver)
                await anyio.sleep_forever()
