"""The policy: whether one is in force, whether the file says something else, and the files that it names."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final

import anyio

from infra_mcp.doctor.finding import Finding, check, empty, failed, risk, skipped
from infra_mcp.doctor.look import Look, mode_of
from infra_mcp.errors import InfraError
from infra_mcp.policy.acceptance import read_policy
from infra_mcp.policy.findings import findings
from infra_mcp.policy.policy import Policy, load

_SHORTEST: Final = 20  # bytes of a webhook's secret: GitHub's advice is "a random string of text with high entropy"


@check("policy.file")
async def file(look: Look) -> AsyncIterator[Finding]:
    """infra.toml can be read as a policy."""
    try:
        load(read_policy(look.settings.policy_file))
    except InfraError as error:
        there = await look.git("cat-file", "-e", "HEAD:infra.toml") is not None
        yield failed(error.what, f"git -C {look.repo} checkout HEAD -- infra.toml" if there else "infra-mcp init")


@check("policy.accepted")
async def accepted(look: Look) -> AsyncIterator[Finding]:
    """A policy is in force, and it is the one of infra.toml."""
    if look.ask is None:
        yield skipped("There is no ledger that could know an acceptance.")
        return
    shown = await look.ask("operator/policy.show", {})
    if not shown["in_force"]:
        pinned = (
            "pinned" in shown["problem"]
        )  # only the commit that was pinned helps, or another pin where it is deployed
        back = f"git -C {look.repo} checkout HEAD -- infra.toml"
        yield failed(shown["problem"], back if pinned else "infra-mcp policy accept --yes")
    elif shown["pending"] and not shown["pending_problem"]:
        what = f"infra.toml differs from the policy in force: {shown['pending']} does nothing until it is accepted."
        yield risk(what, "infra-mcp policy diff && infra-mcp policy accept --yes")
    elif shown["waiting"]:
        what = f"Granted, and in force only once the policy is accepted again: {', '.join(shown['waiting'])}."
        yield risk(what, "infra-mcp policy accept --yes")


@check("policy.remarks")
async def remarks(look: Look) -> AsyncIterator[Finding]:
    """Nothing in infra.toml is without effect, or wider than it seems."""
    try:
        policy = load(read_policy(look.settings.policy_file))
    except InfraError:
        yield skipped("infra.toml cannot be read.")
        return
    for one in findings(policy, datetime.now(UTC)):
        yield risk(f"{one.where}: {one.what} {one.step}", "${EDITOR:-vi} infra.toml && infra-mcp policy check")


@check("policy.committed")
async def committed(look: Look) -> AsyncIterator[Finding]:
    """infra.toml is committed."""
    if not look.settings.policy_file.is_file():
        return
    if await look.git("rev-parse", "--verify", "--quiet", "HEAD") is None:
        yield empty("The repository has no commit yet.")
    elif await look.git("status", "--porcelain", "--", "infra.toml"):
        fix = f"git -C {look.repo} add infra.toml && git -C {look.repo} commit -m 'The policy' -- infra.toml"
        yield risk("infra.toml has changes that no commit has: no one can see who wrote them.", fix)


@check("policy.credentials")
async def credentials(look: Look) -> AsyncIterator[Finding]:
    """Every credential's file that policy names is there, and only the server's user can read it."""
    if look.policy is None:
        yield skipped("There is no policy to read.")
        return
    for key, path in _files(look.policy):
        mode, word = mode_of(path), shlex.quote(path)
        if mode is None:
            yield failed(f"{key} names {path}, which is no file.", f"install -m 600 /dev/stdin {word}")
        elif mode & 0o077:
            yield failed(f"Others can read {path} ({key}).", f"chmod 600 {word}")


@check("policy.webhooks")
async def webhooks(look: Look) -> AsyncIterator[Finding]:
    """Every webhook's secret is there, long enough, and readable for the server's user only."""
    if look.policy is None or not look.policy.hooks:
        yield empty("Policy names no webhook.")
        return
    for name, rules in look.policy.hooks.items():
        path = rules.key_file
        mode, word = mode_of(path), shlex.quote(path)
        made = f"(umask 077 && head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n' > {word})"
        if mode is None:
            yield failed(f"The secret of webhook {name}, {path}, is not there: every event is refused.", made)
        elif mode & 0o077:
            yield failed(f"Others can read the secret of webhook {name}, {path}.", f"chmod 600 {word}")
        elif await _length(path) < _SHORTEST:
            yield failed(f"The secret of webhook {name} has fewer than {_SHORTEST} bytes: it can be guessed.", made)


async def _length(path: str) -> int:
    return len((await anyio.Path(path).read_bytes()).strip())


def _files(policy: Policy) -> Iterator[tuple[str, str]]:
    forge, tree = policy.forge, policy.tree
    named = {"forge.token_file": forge.token_file, "forge.key_file": forge.key_file}
    named |= {"tree.signing_key_file": tree.signing_key_file}
    named |= {f"zones.{name}.key_file": zone.key_file for name, zone in policy.zones.items()}
    yield from ((key, path) for key, path in named.items() if path)
