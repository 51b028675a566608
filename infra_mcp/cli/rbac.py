"""`infra-mcp rbac`: what a cluster admin applies so that the peer may do what the policy says, and no more."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.options import common_options, settings_of, verb
from infra_mcp.cli.output import show
from infra_mcp.errors import InfraError


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "rbac", "the peer's narrow rights as manifests").add_subparsers(metavar="WHAT", required=True)
    rendering = verb(
        parts,
        "render",
        "print what an admin applies, from infra.toml as it is now",
        "rbac render --namespaces docs-live | kubectl apply --server-side -f -",
    )
    rendering.add_argument(
        "--namespaces", metavar="A,B", default="", help="also bind the circles in these namespaces, which exist already"
    )
    rendering.add_argument("--cluster", metavar="NAME", help="the cluster's name in infra.toml, when there are several")
    common_options(rendering)
    rendering.set_defaults(run=_render)


def _render(options: argparse.Namespace) -> int:
    from infra_mcp.policy import rbac  # noqa: PLC0415 - only this command needs the policy's code
    from infra_mcp.policy.acceptance import read_policy  # noqa: PLC0415 - the same
    from infra_mcp.policy.policy import load  # noqa: PLC0415 - the same

    policy = load(read_policy(settings_of(options).policy_file))
    name = policy.cluster_name(options.cluster)
    if name is None:
        what = f"--cluster: name one of: {', '.join(policy.clusters) or 'none yet in infra.toml'}."
        raise InfraError("invalid-argument", what)
    namespaces = [one for one in options.namespaces.split(",") if one]
    objects = rbac.render(policy, name, namespaces)
    show(options.json, {"items": objects}, rbac.to_yaml(objects).rstrip("\n"))
    return 0
