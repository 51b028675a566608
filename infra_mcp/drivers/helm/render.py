"""Renders a release twice, with the cluster's own versions and APIs, and what differs each time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.helm.command import Command
from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.stored import parse
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.charts import Inputs
from infra_mcp.drivers.helm.rendered import Rendering, rendering_of, rendering_of_text, with_volatile
from infra_mcp.drivers.helm.state import ReleaseState, Repair
from infra_mcp.gather import gather
from infra_mcp.masking import Masker
from infra_mcp.model.effect import Change
from infra_mcp.repository.helm.declared import Release


async def rendered(
    access: Access,
    release: Release,
    inputs: Inputs,
    state: ReleaseState,
    repair: Repair | None,
    require: Callable[[Rendering], None],
    *,
    late: bool,
) -> tuple[Rendering, dict[str, Any]]:
    """Render a release twice; the rendering with what differs, and the values as Helm merged them.

    Args:
        access: the cluster.
        release: what is rendered.
        inputs: its chart and values.
        state: its history.
        repair: what a stuck one needs first.
        require: raises what policy has against a rendering.
        late: whether its namespace does not exist yet.

    Raises:
        InfraError: `build-failed`, `build-refused`, `cluster-denied`, and what `require` raises.
    """
    async with access.command() as (plain, folder):
        flags = await anyio.to_thread.run_sync(inputs.write, folder.path)
        command = plain.also(*flags)
        try:
            if late or repair:
                made, merged = await _templated(access, release, command, inputs, state, late=late)
                require(made)
                return made, merged
            options: dict[str, Any] = {"namespace": release.namespace, "replace": state.never_deployed}
            preview = partial(command.preview, release.name, folder.chart, **options)
            pair = [parse(one) for one in await gather([preview, preview])]
        except HelmError as error:
            if error.kind == "cluster-denied":  # Helm looks at every object first: then policy answers, if it refuses
                with suppress(HelmError):
                    require((await _templated(access, release, command, inputs, state, late=True))[0])
            raise error.translate(str(release), access.masker.mask) from error
    first, second = [await rendering_of(access.cluster, one) for one in pair]
    require(first)
    return with_volatile(first, second, str(release)), dict(pair[0].values)


async def _templated(
    access: Access, release: Release, command: Command, inputs: Inputs, state: ReleaseState, *, late: bool
) -> tuple[Rendering, dict[str, Any]]:
    """Render without an upgrade: Helm previews none while a release is stuck, or its namespace is not there."""
    if late:
        version, served = await access.cluster.capabilities()
        command = command.also(f"--kube-version={version}", *(f"--api-versions={one}" for one in served))
    else:
        command = command.also("--dry-run=server", *(("--is-upgrade",) if state.good else ()))
    render = partial(command.render, release.name, command.folder.chart, namespace=release.namespace)
    texts = await gather([render, render])
    first, second = [await rendering_of_text(access.cluster, text, release.namespace, str(release)) for text in texts]
    return with_volatile(first, second, str(release)), inputs.merged


def learn(access: Access, judged: Rendering) -> Masker:
    """Let the masker know every value of the rendered Secrets; returns one that knows only these.

    By that one the fields of the plan are masked: what else is learned meanwhile does not change its digest.
    """
    own = Masker(access.key)
    for one in (*judged.objects, *judged.hooks):
        if one.ref.kind == "Secret":
            for value in _contents(one.stable):
                own.learn(value)
            for value in _contents(one.body):
                access.masker.learn(value)
    return own


def _contents(body: dict[str, Any]) -> Iterator[str | bytes]:
    for value in (body.get("stringData") or {}).values():
        yield str(value)
    for value in (body.get("data") or {}).values():
        try:
            yield base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            yield str(value)


def _hidden(masker: Masker, path: list[Any], name: str, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """A value without secrets; its path counts, too. Found by position: a secret may be the word of a key."""
    return list(masker.mask_json({"path": path, name: value}).values())[-1]


def masked(change: Change, masker: Masker) -> Change:
    """A change without the secrets of its release in its fields: values and objects may repeat them."""
    fields = []
    for one in change.fields:
        sides = {"before": one.before, "after": one.after}
        hidden = {name: _hidden(masker, list(one.path), name, value) for name, value in sides.items()}
        fields.append(one.model_copy(update=hidden))
    return change.model_copy(update={"fields": tuple(fields)})
