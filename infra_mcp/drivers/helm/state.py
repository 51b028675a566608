"""The state of a release by its stored history: what is deployed, what is stuck, and what must be done first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from infra_mcp.clients.helm.stored import DEPLOYED, GOOD, PENDING, Revision
from infra_mcp.errors import InfraError

# A pending revision of others that is younger may be under way: three hooks at Helm's default of five minutes.
UNDER_WAY: Final = timedelta(minutes=15)
_GONE: Final = "uninstalled"


class Repair(StrEnum):
    """What a stuck release needs before it can be upgraded."""

    ROLLBACK = "rollback"  # to the last good revision
    RELEASE = "release"  # its first install never ended: it is marked as failed, and installed again


@dataclass(frozen=True)
class ReleaseState:
    """A release as it is."""

    revisions: tuple[Revision, ...]

    @property
    def last(self) -> Revision | None:
        """The newest revision; None where there is none, or it was uninstalled."""
        newest = self.revisions[-1] if self.revisions else None
        return None if newest is None or newest.status == _GONE else newest

    @property
    def number(self) -> int:
        """The number of the newest revision, an uninstalled one too; 0 without any."""
        return self.revisions[-1].number if self.revisions else 0

    @property
    def good(self) -> Revision | None:
        """The newest revision that was deployed, whatever came after it."""
        return next((one for one in reversed(self.revisions) if one.status in GOOD), None) if self.last else None

    @property
    def current(self) -> Revision | None:
        """The revision whose objects Helm takes for the live ones: the deployed one, or else the newest."""
        deployed = next((one for one in reversed(self.revisions) if one.status == DEPLOYED), None)
        return (deployed or self.last) if self.last else None

    @property
    def never_deployed(self) -> bool:
        """Whether only installs were tried, and all of them failed."""
        return self.last is not None and self.good is None

    def repair(self, *, idle: bool, now: datetime | None = None) -> Repair | None:
        """What must be done before an upgrade; None where nothing is stuck.

        Args:
            idle: whether it was begun by this server, and nothing works on it any more.
            now: the present.

        Raises:
            InfraError: `release-stuck`: it is being uninstalled, or somebody else's operation may be under way.
        """
        last = self.last
        if last is None or last.status not in {*PENDING, "uninstalling"}:
            return None
        about = f"Release {last.namespace}/{last.name} is {last.status} at revision {last.number}"
        if last.status == "uninstalling":
            step = "A person looks at it: `helm uninstall` again ends it. infra-mcp uninstalls nothing."
            raise InfraError("release-stuck", f"{about}: its uninstall was interrupted.", next_step=step)
        since = time_of(last.updated)
        if not idle and since is not None and (now or datetime.now(UTC)) - since < UNDER_WAY:
            until = (since + UNDER_WAY).isoformat(timespec="minutes")
            step = f"Send it again when that has ended. After {until} it is taken for interrupted, and repaired."
            raise InfraError("release-stuck", f"{about}: somebody's operation may be under way.", next_step=step)
        return Repair.ROLLBACK if self.good is not None else Repair.RELEASE

    def explain(self, repair: Repair) -> str:
        """The repair, for the reader of a plan."""
        last, good = self.last, self.good
        if last is None:  # pragma: no cover - nothing is stuck then
            return ""
        since = f"revision {last.number} is {last.status} since {last.updated[:19]}"
        lead = f"Release {last.namespace}/{last.name} is stuck: {since}"
        if repair is Repair.ROLLBACK and good is not None:
            return f"{lead}. It is first rolled back to revision {good.number}, the last good one."
        return (
            f"{lead}, and none was ever deployed. It is marked as failed and installed again; nothing is uninstalled."
        )


def time_of(text: str) -> datetime | None:
    """A time as Helm writes it, with nanoseconds; None for none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def state_of(revisions: Sequence[Revision]) -> ReleaseState:
    """The state by the whole history."""
    return ReleaseState(tuple(revisions))
