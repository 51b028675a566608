"""The one error family of the product, with its stable codes.

Every failure a user, a peer or a model meets is an `InfraError`: a stable code, what is wrong, and what to do next.
Libraries' own exceptions are translated where they arise (`clients/`), never further up. Messages never carry a
secret's content, and never echo an argument that was refused for its form.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from infra_mcp.text import one_line

_LONGEST: Final = 4_000  # characters of a sentence: what others wrote, and we quote, cannot go on without end


class Exit(IntEnum):
    """Exit codes of the command line; each end of a request maps to exactly one."""

    LANDED = 0  # landed, or already so
    FAILED = 1  # failed or rolled back
    INVALID = 2  # the request is not well formed
    REFUSED = 3  # policy says no
    WAITING = 4  # an approval is required and not there
    NOT_UNDERSTOOD = 5  # the text was not understood
    UNREACHABLE = 6  # no server, no cluster, or the wait ran out
    NEEDS_OPERATOR = 7  # a person must look


@dataclass(frozen=True)
class CodeInfo:
    """What a code means, which exit code it gives, and what usually helps."""

    summary: str
    exit: Exit
    next_step: str


CODES: dict[str, CodeInfo] = {
    # -- the request itself
    "invalid-argument": CodeInfo(
        "An argument has the wrong form or is out of range.",
        Exit.INVALID,
        "Correct the named argument and send it again.",
    ),
    "unknown-argument": CodeInfo(
        "An argument is not one of this action's.",
        Exit.INVALID,
        "Remove it; the message lists the arguments there are.",
    ),
    "not-understood": CodeInfo(
        "The ask's text could not be turned into a typed action.",
        Exit.NOT_UNDERSTOOD,
        "Send one of the forms the answer lists.",
    ),
    "idempotency-conflict": CodeInfo(
        "This idempotency key was used before with other arguments.",
        Exit.INVALID,
        "Use a new key for a new request.",
    ),
    "too-late": CodeInfo(
        "The first write has begun, so the request can no longer be cancelled.",
        Exit.INVALID,
        "Wait for its end; a landed change is undone by a new request.",
    ),
    "not-found": CodeInfo(
        "There is no such thing, or not for this caller.",
        Exit.INVALID,
        "Check the id or name.",
    ),
    # -- messages between peers
    "ambiguous-peer": CodeInfo(
        "More than one circle has a peer of that name.",
        Exit.INVALID,
        "Name the circle too: circle=...",
    ),
    "already-acked": CodeInfo(
        "The ask is closed already, with another answer.",
        Exit.INVALID,
        "Send a new ask or a notify if there is more to say.",
    ),
    "too-many": CodeInfo(
        "More messages than a peer may have open or send in that time, or an exchange that goes in circles.",
        Exit.REFUSED,
        "Ack what is open, and send fewer.",
    ),
    "claim-taken": CodeInfo(
        "The ask is not, or no longer, this session's to act for.",
        Exit.REFUSED,
        'Claim it first: inbox(claim="ask-…").',
    ),
    "older-version": CodeInfo(
        "A newer version of this app has landed or is on its way.",
        Exit.REFUSED,
        "Deploy the older version by name if that is what is meant.",
    ),
    # -- who may do what
    "unauthenticated": CodeInfo(
        "No valid token came with the call.",
        Exit.REFUSED,
        "Send the token of a peer as a bearer token.",
    ),
    "policy-denied": CodeInfo(
        "No rule of the policy in force allows this, or one denies it.",
        Exit.REFUSED,
        "Ask for what the named rule grants, or ask an operator to change the policy.",
    ),
    "needs-approval": CodeInfo(
        "A rule requires an approval that is not there yet.",
        Exit.WAITING,
        "An operator runs `infra-mcp approve ID DIGEST`.",
    ),
    "not-approved": CodeInfo(
        "It was denied, or nobody approved it in time.",
        Exit.WAITING,
        "Talk to an operator, then send it again.",
    ),
    "approval-mismatch": CodeInfo(
        "The effect to approve is not the one the request has now, or it does not wait for an approval.",
        Exit.INVALID,
        "Look at the request again and approve the digest it shows now.",
    ),
    "superseded": CodeInfo(
        "A newer release took its place before it began.",
        Exit.FAILED,
        "Nothing: the newer one is on its way.",
    ),
    "policy-not-accepted": CodeInfo(
        "The policy file has no accepted version, so nothing is allowed.",
        Exit.REFUSED,
        "An operator runs `infra-mcp policy accept`.",
    ),
    "policy-invalid": CodeInfo(
        "The policy file cannot be read as a policy.",
        Exit.INVALID,
        "Correct the named key of infra.toml.",
    ),
    "namespace-not-bound": CodeInfo(
        "The namespace exists, and this circle has no rights in it.",
        Exit.REFUSED,
        "A cluster admin applies what `infra-mcp rbac render --namespaces NAME` prints.",
    ),
    # -- the repository
    "not-in-repository": CodeInfo(
        "The object to change is in none of the repository's roots.",
        Exit.FAILED,
        "Commit its manifest under a root, or add the root to infra.toml.",
    ),
    "not-in-cluster": CodeInfo(
        "The object to change is in the repository and not, or not so, in the cluster.",
        Exit.FAILED,
        "Apply what git says by hand first, then send it again.",
    ),
    "delivery-unsupported": CodeInfo(
        "What makes the path live is nothing that this version carries out or confirms.",
        Exit.REFUSED,
        "Set the delivery of its root in infra.toml, or make the change by hand.",
    ),
    "ambiguous-object": CodeInfo(
        "The same object stands in more than one place of the repository.",
        Exit.FAILED,
        "Name in [tree] roots only folders that are applied to this cluster, or keep one of these files.",
    ),
    "manifest-invalid": CodeInfo(
        "A manifest cannot be read, or cannot be edited without changing more than was asked.",
        Exit.FAILED,
        "Correct the named file by hand and commit it.",
    ),
    "checkout-refused": CodeInfo(
        "git refuses to move the checked-out branch; nothing was applied.",
        Exit.FAILED,
        "Commit, stash or remove the named files, or finish the operation git is in, and send it again.",
    ),
    "git-failed": CodeInfo(
        "git could not do what was needed.",
        Exit.FAILED,
        "See the message; nothing was applied after it.",
    ),
    # -- the cluster
    "field-conflict": CodeInfo(
        "Another manager owns a field this change would set.",
        Exit.FAILED,
        "Ask the named owner to change it, or list that manager in the policy's `adopt`.",
    ),
    "owned-elsewhere": CodeInfo(
        "The object belongs to Helm, Argo CD or Flux.",
        Exit.REFUSED,
        "Make the change where that tool takes it from.",
    ),
    "exists": CodeInfo(
        "An object this change would create is there already and is not ours.",
        Exit.FAILED,
        "Look at it; adopt it by hand, or choose another name.",
    ),
    "object-moved": CodeInfo(
        "The object changed while the change was under way, and kept changing.",
        Exit.FAILED,
        "Send it again when the other writer is done.",
    ),
    "object-invalid": CodeInfo(
        "The API server or its schema does not accept the object.",
        Exit.FAILED,
        "Correct the named field.",
    ),
    "cluster-denied": CodeInfo(
        "The API server denies the circle's identity what this needs.",
        Exit.REFUSED,
        "A cluster admin applies what `infra-mcp rbac render` prints.",
    ),
    "cluster-unreachable": CodeInfo(
        "The cluster's API server cannot be reached, or did not answer in time.",
        Exit.UNREACHABLE,
        "Check the cluster named in infra.toml; the request can be sent again.",
    ),
    "cluster-error": CodeInfo(
        "The API server answered with an error.",
        Exit.FAILED,
        "See the message; `infra-mcp request ID` shows how far it came.",
    ),
    "pull-secret-unavailable": CodeInfo(
        "A pull secret's source cannot be read or is not a pull secret.",
        Exit.FAILED,
        "An operator checks the source named in infra.toml and the rights from `infra-mcp rbac render`.",
    ),
    "not-landed": CodeInfo(
        "It was applied and did not reach the asked state.",
        Exit.FAILED,
        "The message names the cause; correct it and send it again.",
    ),
    "undo-incomplete": CodeInfo(
        "The rollback is incomplete: others changed the same since, or the former version does not come up.",
        Exit.NEEDS_OPERATOR,
        "A person looks at the named objects and files.",
    ),
    "cannot-observe": CodeInfo(
        "After an interruption it cannot be told what happened.",
        Exit.NEEDS_OPERATOR,
        "A person looks at the named objects and files.",
    ),
    # -- ourselves
    "ledger-unavailable": CodeInfo(
        "The ledger cannot be written, so nothing may be changed.",
        Exit.UNREACHABLE,
        "An operator checks the state directory: `infra-mcp status`.",
    ),
    "ledger-newer": CodeInfo(
        "The ledger was written by a newer version.",
        Exit.UNREACHABLE,
        "Run that version or a newer one.",
    ),
    "server-unreachable": CodeInfo(
        "No infra-mcp server answers.",
        Exit.UNREACHABLE,
        "Start one: `infra-mcp serve`.",
    ),
    "server-running": CodeInfo(
        "Another server already owns this state directory.",
        Exit.UNREACHABLE,
        "Use that one, or stop it first.",
    ),
    "timed-out": CodeInfo(
        "The wait ran out; the request goes on.",
        Exit.UNREACHABLE,
        "Ask again with `get_request` or `wait_on_ack`.",
    ),
    "setup-failed": CodeInfo(
        "Something this command needs is missing on this machine.",
        Exit.UNREACHABLE,
        "See the message.",
    ),
    "internal": CodeInfo(
        "A fault of infra-mcp itself.",
        Exit.FAILED,
        "See the server's log; the request's record says how far it came.",
    ),
}


class InfraError(Exception):
    """A failure with a stable code.

    Args:
        code: one of `CODES`.
        what: what is wrong, in one sentence, naming the thing, without secrets.
        next_step: what to do next; the code's usual advice when not given.
        rule: the policy rule that decided, where one did.
    """

    def __init__(self, code: str, what: str, *, next_step: str | None = None, rule: str | None = None) -> None:
        info = CODES[code]
        self.what = one_line(what, _LONGEST)
        super().__init__(self.what)
        self.code = code
        self.next_step = one_line(next_step or info.next_step, _LONGEST)
        self.rule = rule
        self.exit = info.exit

    def __str__(self) -> str:
        """The whole error as one line, as people and models see it."""
        return f"{self.code}: {self.what} Next: {self.next_step}"

    def as_dict(self) -> dict[str, str]:
        """The same as data, for structured answers."""
        data = {"code": self.code, "what": self.what, "next": self.next_step}
        return data | {"rule": self.rule} if self.rule else data


class Locked(InfraError):  # noqa: N818 - as Moved
    """Another git process holds a lock that is needed: nothing was done, and later it may be free."""


class Unavailable(InfraError):  # noqa: N818 - named as what it says, like `Moved`
    """A place did not answer, so nobody knows whether what was asked of it was done: look again, later."""


class Moved(Exception):  # noqa: N818 - a signal to plan again, not a failure anyone is shown
    """What a plan was made on has moved; the pipeline plans again.

    Args:
        what: which object or branch moved, for the record.
    """
