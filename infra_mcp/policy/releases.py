"""Which message means a release, and whether that release is taken. Pure.

A message counts as a whole: the literal text of an app's `deploy_on` around one version, and nothing before, after or
between. "release/0.13.4 merged, do NOT deploy yet" is no release. No text of the policy is read as a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.versions import Comparison, Order, compare

_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # OCI distribution spec, tag grammar
_ENDS: Final = " \t\r\n"  # what an editor or a shell adds at the ends of a message


class Release(NamedTuple):
    """An app and the version it is to be brought to."""

    app: str
    version: str


class Take(NamedTuple):
    """The release is taken in."""

    supersedes: tuple[str, ...] = ()  # requests that wait for their time, and whose place it takes
    note: str = ""  # which versions the app's order could not tell apart, so that arrival did; a sentence


class Same(NamedTuple):
    """A request for this very version is on its way already."""

    request_id: str


class Older(NamedTuple):
    """The release is not taken: a newer version landed or is on its way."""

    than: str


def render(template: str, version: str) -> str:
    """The message that means a version."""
    return template.strip(_ENDS).replace("{version}", version)


def match(policy: Policy, sender: Caller, text: str) -> list[Release]:
    """What a message of this sender releases.

    The sender must be the owner by name, and its circle must reach the app's namespace: a peer of the same name in
    another circle owns nothing there. Whether it may deploy at all is asked afterwards, by `decide.admit`.

    Args:
        policy: the policy in force.
        sender: who sent it, as the transport knows it.
        text: the whole message. White space at its very ends does not count.

    Returns:
        A release for each app of the sender whose `deploy_on` is this message, by the app's name; empty when the
        message is none.
    """
    said = text.strip(_ENDS)
    found = []
    for name, app in sorted(policy.apps.items()):
        if app.deploy_on is None or app.owner != sender.name:
            continue
        if not policy.reaches(sender.circle, app.workload_parts.namespace):
            continue
        version = _version(app.deploy_on.strip(_ENDS), said)
        if version is not None:
            found.append(Release(name, version))
    return found


def decide(
    order: Order, version: str, landed: str | None, waiting: Sequence[tuple[str, str, State]]
) -> Take | Same | Older:
    """Whether a release is taken, given what landed and what is on its way.

    Args:
        order: the order the app declares.
        version: the version that has just come.
        landed: the version that landed last, if any.
        waiting: the app's open requests: id, version, state.

    Returns:
        `Same` when an open request is for this version. `Older` when what landed or is on its way is newer. Otherwise
        `Take`, with the requests that wait for their time: all of them are older, or of the same rank, or came before
        it where the order cannot tell. (One that waits for an approval may have been asked for by name; the engine
        looks after those that were not.) A version that landed already is taken: planning shows whether it is still so.
    """
    others = [(one, compare(order, version, one)) for _, one, _ in waiting]
    if landed is not None:
        others.append((landed, compare(order, version, landed)))
    for request_id, one, _ in waiting:
        if one == version:
            return Same(request_id)
    for one, comparison in others:
        if comparison.sign < 0:
            return Older(_newest(order, [one for one, comparison in others if comparison.sign < 0]))
    supersedes = tuple(request_id for request_id, _, state in waiting if state is State.SCHEDULED)
    untold = [one for one, found in others if order != "arrival" and one != version and _is_untold(found)]
    if not untold:
        return Take(supersedes)
    told = ", ".join(dict.fromkeys(untold))
    return Take(supersedes, f"Taken in order of arrival: by {order}, {version} is neither newer nor older than {told}.")


def _is_untold(found: Comparison) -> bool:
    return found.by == "arrival" or found.sign == 0


def _newest(order: Order, versions: Sequence[str]) -> str:
    """The newest of versions that the order can read."""
    newest = versions[0]
    for one in versions[1:]:
        newest = one if compare(order, one, newest).sign > 0 else newest
    return newest


def _version(template: str, said: str) -> str | None:
    """The one text in the place of {version}. There is exactly one such place, so there cannot be two answers."""
    before, _, after = template.partition("{version}")
    if not (said.startswith(before) and said.endswith(after)):
        return None
    version = said[len(before) : len(said) - len(after)]  # empty where both ends share letters
    return version if _VERSION.fullmatch(version) else None
