"""The checks of a deploy: an app of the caller, and a granted image. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Change
from infra_mcp.model.image import Image
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions.base import FAULT, ActionRules, app_refusals
from infra_mcp.policy.grants import Grant, Refusal, image, some
from infra_mcp.policy.images import former_images, new_images
from infra_mcp.policy.policy import Policy


def _refusals(policy: Policy, caller: Caller, to: Grant, action: Deploy) -> Iterator[Refusal]:
    yield from (refused := list(app_refusals(policy, caller, to, action)))
    app = policy.apps.get(action.app)
    if app is None or any(one.rule.startswith(("apps.", "clusters")) for one in refused):
        return
    asked, tag = app.image_for(action.version), action.version.partition("@")[0]
    if "latest" in {tag.casefold(), (asked or "").partition("@")[0].rpartition(":")[2].casefold()}:
        what = "The tag latest moves, so the version that landed would be unknown."
        yield Refusal("version.latest", what, "The version's own tag.")
    if not app.allows(tag):
        what = f"Policy does not allow {action.app} to be brought to version {tag}."
        yield Refusal(f"apps.{action.app}.versions", what, f"A version such as {some(app.versions)}.")
    if asked is not None:  # otherwise the images of the plan are judged
        yield from image(to, asked)


def _effect(policy: Policy, _: Caller, action: Deploy, change: Change) -> Iterator[Refusal]:
    if change.by:  # a chart's version says nothing of its images: the grants of images decide
        return
    app = policy.apps.get(action.app)
    asked = app.image_for(action.version) if app is not None else None
    wanted = Image.parse(asked) if asked else Image("", *_parts(action.version))
    former = former_images(change)
    for reference in new_images(change):
        if not _is_asked(reference, wanted, former):
            what = f"The plan would set {reference[:200]}, and the deploy is to {asked or action.version}."
            yield Refusal("effect.scope", what, FAULT)


def _parts(version: str) -> tuple[str, str]:
    tag, _, digest = version.partition("@")
    return tag, digest


def _is_asked(reference: str, asked: Image, former: Collection[str]) -> bool:
    """Whether an image is the one asked for: its tag, with a leading v or without, and its digest.

    Where the request has no digest, git may pin the tag by one: it is kept, unless it pins another tag now, whose image
    would run on. Where the policy has no image for the app, any repository is: the grants of images decide about it.
    """
    image = Image.parse(reference)
    if asked.named and image.repository != asked.repository:
        return False
    same_tag = image.tag.removeprefix("v") == asked.tag.removeprefix("v")
    if image.digest == asked.digest:
        return same_tag or (bool(image.digest) and not image.tag)
    pins_another = any(one.digest == image.digest and one.tag != image.tag for one in map(Image.parse, former))
    return same_tag and not asked.digest and not pins_another


RULES = ActionRules(_refusals, _effect)
