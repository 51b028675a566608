"""`infra-mcp rbac`: the cluster rights that the policy needs, and how those in a cluster differ from them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.options import common_options, group, settings_of, verb
from infra_mcp.cli.output import show
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

if TYPE_CHECKING:  # only the commands that need it pay for it
    from infra_mcp.policy.policy import Policy

_DIFFERS = 1  # as `kubectl diff` has it


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    parts = group(verbs, "rbac", "the peer's narrow rights as manifests")
    rendering = verb(
        parts,
        "render",
        "print what an admin applies, from infra.toml as it is now",
        "rbac render --namespaces docs-live | kubectl apply --server-side -f -",
        run=_render,
    )
    comparing = verb(
        parts,
        "diff",
        "what a cluster has against what infra.toml renders; exit code 1 where they differ",
        "rbac diff",
        "rbac diff --context prod-admin --json",
        run=_compare,
    )
    comparing.add_argument("--context", metavar="NAME", help="an admin's kubeconfig context (default: infra.toml's)")
    for parser in (rendering, comparing):
        parser.add_argument(
            "--namespaces",
            metavar="A,B",
            default="",
            help="also bind the circles in these existing namespaces; NAME=CIRCLE where several circles match",
        )
        parser.add_argument(
            "--cluster", metavar="NAME", help="the cluster's name in infra.toml, when there are several"
        )
        parser.add_argument(
            "--plain", action="store_true", help="for a cluster without constrained impersonation (before 1.36)"
        )
        common_options(parser)


def _render(options: argparse.Namespace) -> int:
    from infra_mcp.policy import rbac  # noqa: PLC0415 - only this command needs the policy's code

    policy, name, namespaces = _rights_asked(options)
    objects = rbac.render(policy, name, namespaces, plain=options.plain)
    form = {"impersonation": "plain" if options.plain else "constrained", "items": objects}
    return show(options.json, form, rbac.to_yaml(objects, plain=options.plain).rstrip("\n"))


def _compare(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - only this command needs them

    from infra_mcp.clients.kube import Cluster, KubeError  # noqa: PLC0415 - the same
    from infra_mcp.drivers.kubernetes.installed import compare  # noqa: PLC0415 - the same

    policy, name, namespaces = _rights_asked(options)
    context = options.context or policy.clusters[name].context
    kubeconfig = settings_of(options).kubeconfig

    async def work() -> Any:  # noqa: ANN401 - a Comparison, which only this command imports
        async with Cluster.connect(name, kubeconfig, context) as cluster:
            try:
                return await compare(cluster, policy, name, namespaces, plain=options.plain)
            except KubeError as error:
                raise error.translate("the rights in the cluster") from error

    found = anyio.run(work)
    mends = found.commands(context, ["--cluster", name] if options.cluster else [])
    lines = [f"impersonation: {found.form}, since {found.why}"]
    lines += [f"missing: {one}" for one in found.missing]
    lines += [f"other: {one}: {', '.join(fields)}" for one, fields in found.other.items()]
    lines += [f"left over: {one_line(one)}" for one in found.left]  # others chose the names of these
    lines += [f"given by others, look at it: {one_line(one)}" for one in found.beside]
    lines += ["", "To mend it, as a cluster admin:", *(f"  {one}" for one in mends)] if mends else []
    if not found.differs:
        lines.append("The cluster has what infra.toml renders.")
    shown = {"impersonation": found.form, "why": found.why, "missing": found.missing, "other": found.other}
    shown |= {"left_over": found.left, "beside": found.beside, "commands": mends}
    show(options.json, shown, "\n".join(lines))
    return _DIFFERS if found.differs else int(Exit.LANDED)


def _rights_asked(options: argparse.Namespace) -> tuple[Policy, str, list[str]]:
    """infra.toml as it is now, the cluster's name in it, and the namespaces of `--namespaces`."""
    from infra_mcp.policy.acceptance import read_policy  # noqa: PLC0415 - only these commands need the policy's code
    from infra_mcp.policy.policy import load  # noqa: PLC0415 - the same

    policy = load(read_policy(settings_of(options).policy_file))
    name = policy.cluster_name(options.cluster)
    if name is None:
        what = f"--cluster: name one of: {', '.join(policy.clusters) or 'none yet in infra.toml'}."
        raise InfraError("invalid-argument", what)
    return policy, name, [one for one in options.namespaces.split(",") if one]
