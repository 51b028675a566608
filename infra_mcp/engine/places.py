"""The connections to named places: each opened when first needed, and again when its settings in policy change."""

import contextlib
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

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
class Places:
    """Drivers by delivery and place. A place that is down fails only the calls that need it."""

    setup: Setup  # what drivers are connected with
    deliveries: Mapping[str, Delivery] = field(default_factory=lambda: DELIVERIES)
    # Why a place cannot be used, by place; under "", why none can.
    trouble: dict[str, InfraError] = field(default_factory=dict)
    # Which rights the login of a place should not have, by place, once checked.
    rights: dict[str, str] = field(default_factory=dict)
    _open: dict[tuple[str, str], tuple[Driver, Hashable]] = field(default_factory=dict)  # with its settings
    _locks: dict[tuple[str, str], anyio.Lock] = field(default_factory=dict)
    _group: TaskGroup | None = None

    async def keep(
        self,
        in_force: PolicyInForce,
        opened: Callable[[], None],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hold the connections until cancelled; open those of the policy in force, and call `opened` when they are."""
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
            with contextlib.suppress(InfraError):  # it is in `trouble`
                await self.driver(policy, delivery, place)

    def where(self, policy: Policy, delivery: str, place: str) -> str:
        """What a place's name means in a policy, for people.

        Raises:
            InfraError: `policy-invalid`: no such place; `delivery-unsupported`.
        """
        return self._delivery(delivery).place(policy, place).where

    def serves(self, policy: Policy, delivery: str, place: str) -> bool:
        """Whether this version carries out or confirms a delivery at a place."""
        try:
            self._delivery(delivery).place(policy, place)
        except InfraError as error:
            if error.code != "delivery-unsupported":
                raise
            return False
        return True

    async def driver(self, policy: Policy, delivery: str, place: str) -> Driver:
        """The driver of a delivery at a place, connected if it is not yet.

        A connection with former settings stays open for the requests that use it.

        Raises:
            InfraError: `policy-invalid`, `delivery-unsupported`; why it cannot connect, such as `setup-failed`.
        """
        made, key = self._delivery(delivery), (delivery, place)
        wanted = made.place(policy, place).settings
        async with self._locks.setdefault(key, anyio.Lock()):
            if key in self._open and self._open[key][1] == wanted:
                return self._open[key][0]
            if self._group is None:
                raise InfraError("cluster-unreachable", "The server is not connected to its places yet.")
            try:
                driver: Driver = await self._group.start(self._hold, made, policy, place)
            except InfraError as error:
                self.trouble[place] = error
                raise
            except Exception as fault:  # our own fault must fail this place only, never the server
                _log.exception("Place %s cannot be connected to", place)
                what = "Internal error while connecting. The server's log has the details."
                self.trouble[place] = InfraError("internal", what)
                raise self.trouble[place] from fault
            self.trouble.pop(place, None)
            self._open[key] = driver, wanted
            self.rights.pop(place, None)
            self._group.start_soon(self._check_rights, place, driver)
            return driver

    async def answer(self) -> bool:
        """Whether every place answers now; False while one cannot be connected to."""
        if self.trouble or not self._open:
            return False
        return all(await gather(driver.answers for driver, _ in self._open.values()))

    async def _check_rights(self, place: str, driver: Driver) -> None:
        self.rights[place] = await driver.excess()
        if self.rights[place]:
            _log.warning("%s", self.rights[place])

    async def of(self, policy: Policy, target: Target) -> Driver:
        """The driver that reads a target: the first one of its system."""
        name = next(one.name for one in self.deliveries.values() if one.system == target.system)
        return await self.driver(policy, name, target.place)

    def _delivery(self, name: str) -> Delivery:
        found = self.deliveries.get(name)
        if found is None:
            raise InfraError("delivery-unsupported", f"This version does not carry out the delivery {name}.")
        return found

    async def _hold(self, made: Delivery, policy: Policy, place: str, *, task_status: TaskStatus[Driver]) -> None:
        with contextlib.suppress(anyio.get_cancelled_exc_class()):
            async with made.connect(self.setup, policy, place) as driver:
                task_status.started(driver)
                await anyio.sleep_forever()
