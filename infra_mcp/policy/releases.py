"""Which message means a release, and whether that release is accepted. Pure.

A release is the literal text of an app's `deploy_on` around one version, and nothing else: "release/0.13.4 merged, do
NOT deploy yet" is no release. No text of the policy is a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import Final, NamedTuple

from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.versions import Order, compare

_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # OCI distribution spec, tag grammar
_ENDS: Final = " \t\r\n"  # an editor or a shell adds these at the ends of a message


class Release(NamedTuple):
    """An app, the version to deploy, and its environment; None where policy names none."""

    app: str
    version: str
    environment: str | None = None


class Take(NamedTuple):
    """The release is accepted."""

    supersedes: tuple[str, ...] = ()  # the waiting requests that it replaces
    note: str = ""  # a sentence about versions that the app's order cannot compare


class Same(NamedTuple):
    """A request for this version is on its way already."""

    request_id: str


class Older(NamedTuple):
    """The release is refused: a newer version landed or is on its way."""

    than: str


def render(template: str, version: str) -> str:
    """The message that means a version."""
    return template.strip(_ENDS).replace("{version}", version)


def match(policy: Policy, sender: Caller, text: str) -> list[Release]:
    """The releases that a message means, sorted by app: every app of the sender whose `deploy_on` matches.

    An app with environments is released to each of them whose own `deploy_on`, else the app's, matches. The sender must
    be the owner by name, and its circle must reach the app's namespace: a peer of the same name in another circle owns
    nothing there. `decide.admit` checks later whether it may deploy.

    Args:
        policy: the policy in force.
        sender: the sender, as the transport identified it.
        text: the whole message; white space at its ends does not count.
    """
    message = text.strip(_ENDS)
    found = []
    for name, app in sorted(policy.apps.items()):
        if not policy.is_of(name, sender.name, sender.circle):
            continue
        for environment in app.environments or (None,):
            own = app.environments[environment].deploy_on if environment else None
            template = own or app.deploy_on
            version = version_of(template, message) if template else None
            if version is not None:
                found.append(Release(name, version, environment))
    return found


def decide(
    order: Order, version: str, landed: str | None, waiting: Sequence[tuple[str, str, State]]
) -> Take | Same | Older:
    """Whether a release is accepted.

    Args:
        order: the app's order of versions.
        version: the new version.
        landed: the version that landed last, if any.
        waiting: the app's open requests: id, version, state.

    Returns:
        `Same` when an open request is for this version; `Older` when a newer version landed or is on its way; otherwise
        `Take`, with the scheduled requests, none of which is newer. A version that landed already is accepted: planning
        shows whether it still runs.
    """
    others = [(one, compare(order, version, one)) for _, one, _ in waiting]
    if landed is not None:
        others.append((landed, compare(order, version, landed)))
    for request_id, one, _ in waiting:
        if one == version:
            return Same(request_id)
    if newer := [one for one, comparison in others if comparison.sign < 0]:
        return Older(reduce(lambda newest, one: one if compare(order, one, newest).sign > 0 else newest, newer))
    supersedes = tuple(request_id for request_id, _, state in waiting if state is State.SCHEDULED)
    equal = [one for one, found in others if one != version and (found.by == "arrival" or found.sign == 0)]
    if order == "arrival" or not equal:
        return Take(supersedes)
    names = ", ".join(dict.fromkeys(equal))
    return Take(
        supersedes, f"Taken in order of arrival: by {order}, {version} is neither newer nor older than {names}."
    )


def version_of(template: str, message: str) -> str | None:
    """The text in the only place of {version}; None where the message is not the template, or it can be no version."""
    before, _, after = template.strip(_ENDS).partition("{version}")
    if not (message.startswith(before) and message.endswith(after)):
        return None
    version = message[len(before) : len(message) - len(after)]  # empty where both ends share letters
    return version if _VERSION.fullmatch(version) else None
