"""`infra-mcp preview ACTION`: the file diff of a change and what it reaches, in any checkout, without a server."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from infra_mcp.cli.change import VERBS, add_fields, example, fields_of
from infra_mcp.cli.options import common_options, group, settings_of, verb
from infra_mcp.cli.output import fail, show
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError

# Of what was not found, or may be several: `preview` tells these from other invalid requests.
_NOT_FOUND = frozenset(
    {"not-found", "not-in-repository", "ambiguous-object", "ambiguous-setting", "environment-needed"}
)
_CHANGED = 1  # with --exit-code, as `git diff` has it


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb, with a verb of its own for each action."""
    parts = group(
        verbs, "preview", "show what a change would do to the files here, and what it reaches; writes nothing"
    )
    for action, spec in VERBS.items():
        name = action.replace("_", "-")
        parser = verb(
            parts, name, f"preview: {spec['summary']}", f"preview {example(action)}", run=partial(_run, action)
        )
        add_fields(parser, action)
        parser.add_argument(
            "--exit-code", action="store_true", help="exit 1 where files would change, 0 where none would"
        )
        common_options(parser)


def _run(action: str, options: argparse.Namespace) -> int:
    try:
        found = _preview(action, options)
    except InfraError as error:
        fail(options.json, error)
        return int(Exit.NOT_UNDERSTOOD if error.code in _NOT_FOUND else Exit.INVALID)
    show(options.json, found, _text(found))
    return _CHANGED if options.exit_code and found["changed"] else int(Exit.LANDED)


def _preview(action: str, options: argparse.Namespace) -> dict[str, Any]:
    import anyio  # noqa: PLC0415 - only where it is asked for

    from infra_mcp.engine.preview import preview  # noqa: PLC0415 - needs the models and the YAML reader
    from infra_mcp.model.actions import ACTIONS  # noqa: PLC0415 - the same
    from infra_mcp.server.arguments import parse  # noqa: PLC0415 - the same

    typed = parse(ACTIONS[action], fields_of(action, options))
    return anyio.run(preview, settings_of(options).repo, typed)


def _text(found: dict[str, Any]) -> str:
    lines = [found["title"]]
    if instance := found["instance"]:
        where = f" in {instance['environment']}" if instance.get("environment") else ""
        former, version = instance.get("former"), instance.get("version")
        change = f": {former} -> {version}" if former else f": {version}"
        change = f": {version} already" if former == version else change
        lines += [f"{', '.join(instance['units'])}{where}{change}"] if instance["units"] else []
    if not found["changed"]:
        lines.append("No file would change.")
    for file in found["files"]:
        lines += ["", f"{file['operation']} {file['path']}", file["diff"].rstrip("\n")]
    if found["reach"]:
        lines += ["", "reaches:"]
    lines += dict.fromkeys(line for one in found["reach"] for line in _reached(one))  # two instances may look alike
    needs = "; needs an approval (rule effect.unrendered)" if found["approval"] else ""
    notes = [*found["notes"], *(f"{one}{needs}" for one in found["unrendered"])]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _reached(one: dict[str, Any]) -> Iterator[str]:
    cluster = f" on {one['cluster']}" if one["cluster"] else ""
    by = f" ({one['by']})" if one["by"] else ""
    apps = f": {', '.join(one['apps'])}" if one["apps"] else ""
    yield f"  {one['delivery']} {one['root']}{cluster}{by}{apps}"
    if one["unbuilt"]:
        yield f"    not built, so it counts as reached: {one['unbuilt']}"
