"""Finds in the source what writes to ledger, git and cluster, and whether it is marked as an effect.

The search over-reaches on purpose: whatever mentions the name of something that writes counts as writing too, up to the
next function that is marked. So a new write that nobody marked cannot hide behind a private helper.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "AT_A_FORGE",
    "AT_A_REMOTE",
    "BESIDE",
    "GIT_COMMANDS",
    "IN_SYSTEMS",
    "IN_THE_MAIL",
    "ON_THE_WAY",
    "Function",
    "cluster_write",
    "functions",
    "git_write",
    "ledger_write",
    "unmarked",
]

# Every effect there is, and whether a request's own way leads through it. The kill test stops a server before and after
# each of the former, and checks that it did; the latter are one transaction each, with nothing that follows from them.
ON_THE_WAY = {"ledger.accept", "ledger.record", "ledger.finish", "git.build", "git.move", "kube.create", "kube.apply"}
# What peers, attending sessions and approvers do beside it: the kill test stops a server there, too.
IN_THE_MAIL = {
    "ledger.answer",
    "ledger.approval.give",
    "ledger.approval.use",
    "ledger.delivered",
    "ledger.mail.ack",
    "ledger.mail.ask",
    "ledger.mail.claim",
    "ledger.mail.mark",
    "ledger.mail.notified",
    "ledger.mail.post",
    "ledger.mail.release",
}
# Instead of `git.move`, where the branch is at a remote: test_push.py and test_proposal_kills.py stop there.
AT_A_REMOTE = {"forge.close", "forge.propose", "git.publish", "git.push", "git.unpublish"}
# Every write of a client of a forge: pull requests, comments, auto-merge.
AT_A_FORGE = {"forge.write"}
# What drivers write in other systems than a cluster: the kill test of each stops there.
IN_SYSTEMS = {"dns.publish", "dns.update", "helm.rollback", "helm.upgrade", "terraform.apply", "terraform.unlock"}
BESIDE = {
    "ledger.backup",
    "ledger.restore",
    "ledger.mail.purge",
    "ledger.note",
    "ledger.policy",
    "ledger.resolve",
    "ledger.freezes",
    "ledger.peer.add",
    "ledger.peer.remove",
    "ledger.peer.describe",
    "ledger.token.issue",
    "ledger.token.renew",
    "ledger.token.used",
    "ledger.token.revoke",
}

# Every git command the product starts, and whether it changes refs, objects or a checkout. `read-tree`
# only takes back what an unfinished merge of ours did; `init`, `fetch` and `gc` change the server's own clone.
GIT_COMMANDS = {
    "cat-file": False,
    "config": False,
    "fetch": False,
    "for-each-ref": False,
    "gc": False,
    "hash-object": True,
    "init": False,
    "log": False,
    "ls-remote": False,
    "rev-list": False,
    "merge": True,
    "merge-base": False,
    "mktree": True,
    "push": True,
    "read-tree": False,
    "rev-parse": False,
    "status": False,
    "symbolic-ref": False,
    "update-ref": True,
    "worktree": False,
}


@dataclass
class Function:
    """A function or method: where it is, what it is called, what it mentions, and the effect it is marked as."""

    module: str
    name: str  # Class.method or function
    node: ast.FunctionDef | ast.AsyncFunctionDef
    effect: str | None
    mentions: set[str] = field(default_factory=set)


def functions(folder: Path) -> list[Function]:
    """All functions below a folder."""
    found = []
    for file in sorted(folder.rglob("*.py")):
        module = ast.parse(file.read_bytes(), str(file))
        found += [
            Function(file.relative_to(folder).as_posix(), name, node, _effect(node), _mentions(node))
            for name, node in _definitions(module.body, "")
        ]
    return found


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, f"{prefix}{node.name}.")


def _effect(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "effect":
            return str(ast.literal_eval(mark.args[0]))
    return None


def _mentions(node: ast.AST) -> set[str]:
    """What is used: `name` for a name by itself, `.name` for one of something else.

    Left out are what is called with a literal `dry_run=True`, and the methods of a `file`.
    """
    dry = {id(call.func) for call in ast.walk(node) if isinstance(call, ast.Call) and _says(call, "dry_run", True)}
    used = [one for one in ast.walk(node) if id(one) not in dry]
    names = {one.id for one in used if isinstance(one, ast.Name)}
    return names | {
        f".{one.attr}"
        for one in used
        if isinstance(one, ast.Attribute) and not (isinstance(one.value, ast.Name) and one.value.id == "file")
    }


def _says(call: ast.Call, keyword: str, value: object) -> bool:
    return any(
        given.arg == keyword and isinstance(part, ast.Constant) and part.value == value
        for given in call.keywords
        for part in ast.walk(given.value)
    )


def cluster_write(function: Function) -> bool:
    """Sends a request of kind `write`, or speaks a changing verb to the library by itself."""
    calls = [node for node in ast.walk(function.node) if isinstance(node, ast.Call)]
    return any(_says(call, "kind", "write") for call in calls)


def git_write(function: Function) -> bool:
    """Names a git command that changes refs, objects or a checkout."""
    constants = {node.value for node in ast.walk(function.node) if isinstance(node, ast.Constant)}
    return any(command in constants for command, writes in GIT_COMMANDS.items() if writes)


def ledger_write(function: Function) -> bool:
    """Begins a transaction that may write, or puts a finished file in its place."""
    return bool({"._writer", ".link"} & function.mentions)


def unmarked(all_functions: list[Function], writes: Callable[[Function], bool], entry: str) -> set[str]:
    """The functions that write, by themselves or through others, without a mark on themselves or in between.

    The entry class's own public methods are told, and spread no further: their names are everyday words.
    """
    tainted = {id(function) for function in all_functions if function.effect is None and writes(function)}
    while True:
        names = {name for one in all_functions if id(one) in tainted for name in _called(one, entry)}
        more = {
            id(function)
            for function in all_functions
            if function.effect is None and id(function) not in tainted and function.mentions & names
        }
        if not more:
            return {function.name for function in all_functions if id(function) in tainted}
        tainted |= more


def _called(function: Function, entry: str) -> set[str]:
    """How others would mention it: a method as `.name`, a function also by its name alone."""
    owner, _, short = function.name.rpartition(".")
    if short.startswith("__") or (owner == entry and not short.startswith("_")):
        return set()
    return {f".{short}"} if owner else {short, f".{short}"}
