"""Gets what a release is rendered from: its chart with all that it needs, and its values, lowest first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread

from infra_mcp.clients.helm import archive, charts
from infra_mcp.clients.helm.charts import Chart
from infra_mcp.clients.helm.program import find_helm
from infra_mcp.drivers.helm.access import Access, require_repository
from infra_mcp.errors import InfraError
from infra_mcp.repository.helm.chart_files import chart_files
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.layers import laid
from infra_mcp.repository.value import Tree


@dataclass(frozen=True)
class Inputs:
    """All that a rendering depends on, beside the cluster."""

    chart: Chart
    layers: tuple[bytes, ...] = field(repr=False)  # values files, lowest first
    merged: dict[str, Any] = field(repr=False)  # the values laid over each other, for people

    def write(self, folder: Path) -> list[str]:
        """Write the chart and the values into a private folder; the flags that name the values."""
        archive.write(self.chart.files, folder / "chart")
        flags = []
        for number, data in enumerate(self.layers):
            path = folder / f"values-{number}.yaml"
            path.write_bytes(data)
            flags.append(f"--values={path}")
        return flags


async def inputs_of(access: Access, release: Release, tree: Tree) -> Inputs:
    """The chart and values of a release, as one tree declares them.

    Raises:
        InfraError: `chart-unavailable`; `policy-denied`: its repository is not one that policy lists;
            `manifest-invalid`: values cannot be read; `encrypted`.
    """
    program = await find_helm()
    allowed = partial(require_repository, access.context)
    if isinstance(release.chart, str):
        files = await to_thread.run_sync(chart_files, tree, release.chart)
        what = f"The chart in {release.chart or '.'}"
        chart = await charts.local(program, files, what, access.masker.mask, allowed)
    else:
        chart = await charts.fetch(program, release.chart, access.masker.mask, allowed)
    layers, merged = await to_thread.run_sync(_layers, release, tree)
    return Inputs(chart, layers, merged)


def _layers(release: Release, tree: Tree) -> tuple[tuple[bytes, ...], dict[str, Any]]:
    layers, merged = [], dict[str, Any]()
    for one in release.layers:
        if isinstance(one, str):
            data, documents = tree.read(one) or b"", tree.documents(one) or []
            value = documents[0] if documents else None
            if not isinstance(value, dict | None):
                raise InfraError("manifest-invalid", f"{one} holds no values: it is no map.")
            if isinstance(value, dict) and isinstance(value.get("sops"), dict):
                what = f"{one} is encrypted: Helm would install its cipher texts."
                raise InfraError("encrypted", what, next_step="Keep its delivery with what decrypts it.")
        else:
            data, value = json.dumps(one).encode(), one
        layers.append(data)
        merged = laid(merged, value or {})
    return tuple(layers), merged
