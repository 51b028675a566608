"""The stable codes of errors, and the exit codes of the command line: what each means, and what usually helps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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
    """A code's meaning, what usually helps, and its exit code."""

    summary: str
    next_step: str
    exit: Exit = Exit.FAILED


CODES: dict[str, CodeInfo] = {
    # -- the request itself
    "invalid-argument": CodeInfo(
        "An argument has the wrong form or range.", "Correct the named argument and send it again.", Exit.INVALID
    ),
    "unknown-argument": CodeInfo(
        "The action has no such argument.", "Remove it; the message lists the arguments there are.", Exit.INVALID
    ),
    "not-understood": CodeInfo(
        "The ask could not be turned into an action.", "Send one of the forms the answer lists.", Exit.NOT_UNDERSTOOD
    ),
    "idempotency-conflict": CodeInfo(
        "This idempotency key was used before with other arguments.", "Use a new key for a new request.", Exit.INVALID
    ),
    "too-late": CodeInfo(
        "The first write has begun, so the request can no longer be cancelled.",
        "Wait for its end; a landed change is undone by a new request.",
        Exit.INVALID,
    ),
    "environment-needed": CodeInfo(
        "The app runs in several environments, and the request names none.",
        "Name one of them: environment=… (on the command line --environment).",
        Exit.INVALID,
    ),
    "digest-needed": CodeInfo(
        "The image is pinned by a digest, and the request names none.",
        "Give the version with its digest, VERSION@sha256:…; or say that the pin may go: drop_digest=true "
        "(on the command line --drop-digest).",
        Exit.INVALID,
    ),
    "not-found": CodeInfo("It does not exist, or not for this caller.", "Check the id or name.", Exit.INVALID),
    # -- messages between peers
    "ambiguous-peer": CodeInfo(
        "More than one circle has a peer of that name.", "Name the circle too: circle=...", Exit.INVALID
    ),
    "already-acked": CodeInfo(
        "The ask is closed already, with another answer.", "Send a new ask or message.", Exit.INVALID
    ),
    "too-many": CodeInfo(
        "More messages than a peer may have open or send in that time, or an exchange that goes in circles.",
        "Ack what is open, and send fewer.",
        Exit.REFUSED,
    ),
    "claim-taken": CodeInfo(
        "The ask is not, or no longer, claimed by this session.", 'Claim it first: inbox(claim="ask-…").', Exit.REFUSED
    ),
    "older-version": CodeInfo(
        "A newer version has landed or is on its way.", "Deploy the older one by name if that is meant.", Exit.REFUSED
    ),
    "rolled-back": CodeInfo(
        "This version of the app was rolled back.",
        "Release a newer version, or deploy this one by name if that is meant.",
        Exit.REFUSED,
    ),
    "no-rollback": CodeInfo(
        "The request cannot be rolled back: it did not land, changed no file, or added files.",
        "Send a new request for the state that is wanted.",
        Exit.REFUSED,
    ),
    # -- who may do what
    "unauthenticated": CodeInfo(
        "No valid token came with the call.", "Send the token of a peer as a bearer token.", Exit.REFUSED
    ),
    "issuer-unreachable": CodeInfo("An issuer's keys cannot be read.", "Send it again later.", Exit.UNREACHABLE),
    "token-expired": CodeInfo("The token has expired.", "An operator runs `infra-mcp peer token NAME`.", Exit.REFUSED),
    "policy-denied": CodeInfo(
        "No rule of the policy in force allows this, or one denies it.",
        "Ask for what the named rule grants, or ask an operator to change the policy.",
        Exit.REFUSED,
    ),
    "needs-approval": CodeInfo(
        "A rule requires an approval that is missing.", "An operator runs `infra-mcp approve ID DIGEST`.", Exit.WAITING
    ),
    "not-approved": CodeInfo(
        "It was denied, or not approved in time.", "Talk to an operator, then send it again.", Exit.WAITING
    ),
    "approval-mismatch": CodeInfo(
        "The request has another effect now, or is not waiting for approval.",
        "Look at the request again and approve the digest it shows now.",
        Exit.INVALID,
    ),
    "signature-refused": CodeInfo(
        "The signature of an approval does not hold: it is of another text, or of a key that policy does not have.",
        "Sign what the request shows now, with a key of `[signers]`: `infra-mcp approve ID DIGEST --sign KEY`.",
        Exit.REFUSED,
    ),
    "superseded": CodeInfo("A newer release took its place before it began.", "Nothing: the newer one is on its way."),
    "policy-not-accepted": CodeInfo(
        "No policy is accepted, so nothing is allowed.", "An operator runs `infra-mcp policy accept`.", Exit.REFUSED
    ),
    "policy-invalid": CodeInfo(
        "The policy file cannot be read as a policy.", "Correct the named key of infra.toml.", Exit.INVALID
    ),
    "namespace-not-bound": CodeInfo(
        "The namespace exists, and this circle has no rights in it.",
        "A cluster admin applies what `infra-mcp rbac render --namespaces NAME` prints.",
        Exit.REFUSED,
    ),
    # -- the repository
    "not-in-repository": CodeInfo(
        "No root of the repository has the object.", "Commit its manifest under a root, or add the root to infra.toml."
    ),
    "place-needed": CodeInfo(
        "infra.toml does not say where the file of a new object goes.",
        'An operator adds `new = "…"` to [tree] in infra.toml and accepts it.',
        Exit.REFUSED,
    ),
    "not-in-cluster": CodeInfo(
        "The object to change is in the repository, but missing or different in the cluster.",
        "Apply what git says by hand first, then send it again.",
    ),
    "changed-since": CodeInfo(
        "Others changed the values that a rollback would set back.",
        "Send a new request for the state that is wanted, or roll back the later request first.",
        Exit.REFUSED,
    ),
    "delivery-unsupported": CodeInfo(
        "This version cannot carry out or confirm the delivery of the path.",
        'Set delivery = "external" for its root in infra.toml and name evidence that it is live; or change it by hand.',
        Exit.REFUSED,
    ),
    "ambiguous-object": CodeInfo(
        "The same object stands in more than one place of the repository.",
        'Name the right one in infra.toml: [apps.NAME] file = "…", or as roots only folders of this cluster.',
    ),
    "ambiguous-setting": CodeInfo(
        "The app holds several values that could be meant.",
        "Say in infra.toml where the setting stands: [apps.NAME.settings.SETTING] at.",
    ),
    "shared-place": CodeInfo(
        "The place that decides for this instance decides for others, too.",
        "Set the value in the overlay or values file of this instance alone; or change the shared place for all of "
        "them by hand.",
        Exit.INVALID,
    ),
    "no-effect": CodeInfo(
        "The edit would change nothing of what is delivered.",
        "Find what decides the value instead: a patch, a transformer, or a chart's own value; and change that by hand.",
        Exit.INVALID,
    ),
    "automation": CodeInfo(
        "Something writes this place by itself and would undo the change.",
        "Change what that automation follows, or suspend it first.",
    ),
    "encrypted": CodeInfo(
        "The value stands in an encrypted file.",
        "A person who has the key changes it, with sops for one.",
    ),
    "manifest-invalid": CodeInfo(
        "A manifest cannot be read, or cannot be edited without changing more than was asked.",
        "Correct the named file by hand and commit it.",
    ),
    "build-refused": CodeInfo(
        "The kustomization or chart cannot be built from the files of this repository and what policy allows.",
        "Correct the named entry. What it fetches or runs a program for can be committed and named instead.",
        Exit.REFUSED,
    ),
    "namespace-needed": CodeInfo(
        "A build gives objects without a namespace, and infra.toml names none for the app.",
        'Add `namespace = "…"` to [apps.NAME.environments.ENVIRONMENT] in infra.toml, or to the kustomization.',
        Exit.REFUSED,
    ),
    "build-failed": CodeInfo(
        "kustomize cannot build the kustomization, or Helm cannot render the chart.",
        "Correct the named file and commit it.",
    ),
    "chart-unavailable": CodeInfo(
        "A chart cannot be fetched, or is not the one that its name, version or digest says.",
        "Check repository, name and version of the chart, and [helm] repositories in infra.toml.",
    ),
    "checkout-refused": CodeInfo(
        "git refuses to move the checked-out branch; nothing was applied.",
        "Commit, stash or remove the named files, or finish the operation git is in, and send it again.",
    ),
    "git-failed": CodeInfo("git could not do what was needed.", "See the message; nothing was applied after it."),
    # -- the cluster
    "field-conflict": CodeInfo(
        "Another manager owns a field this change would set.",
        "Ask the named owner to change it, or list that manager in the policy's `adopt`.",
    ),
    "owned-elsewhere": CodeInfo(
        "The object belongs to Helm, Argo CD or Flux.", "Make the change where that tool takes it from.", Exit.REFUSED
    ),
    "exists": CodeInfo(
        "An object to create exists already and is not ours.", "Look at it; adopt it by hand, or choose another name."
    ),
    "object-moved": CodeInfo(
        "The object kept changing while the change was under way.", "Send it again when the other writer is done."
    ),
    "release-stuck": CodeInfo(
        "A former Helm operation of the release was interrupted, or is still under way.",
        "See the message: docs/helm.md says how each kind of stuck release is repaired.",
    ),
    "object-invalid": CodeInfo("The API server or its schema does not accept the object.", "Correct the named field."),
    "admission-denied": CodeInfo(
        "A ValidatingAdmissionPolicy or a webhook of the cluster refuses the object.",
        "Change what its message names, or ask who set that rule up.",
        Exit.REFUSED,
    ),
    "cluster-denied": CodeInfo(
        "The API server denies the circle's identity what this needs.",
        "A cluster admin runs `infra-mcp rbac diff`, and the commands that it prints.",
        Exit.REFUSED,
    ),
    "remote-unreachable": CodeInfo(
        "The repository's remote cannot be reached; requests wait for it, and nothing is lost.",
        "Nothing needs to be sent again. `infra-mcp status` shows what waits.",
        Exit.UNREACHABLE,
    ),
    "forge-unreachable": CodeInfo(
        "The forge cannot be reached, or asks to wait; requests wait for it, and nothing is lost.",
        "Nothing needs to be sent again. `infra-mcp status` shows what waits.",
        Exit.UNREACHABLE,
    ),
    "forge-refused": CodeInfo(
        "The forge refused what the server asked of it.",
        "Read the forge's words; an operator gives the server's account the right, then send it again.",
        Exit.REFUSED,
    ),
    "proposal-closed": CodeInfo(
        "The pull request was closed without a merge.",
        "Talk to the account that closed it, then send it again.",
        Exit.REFUSED,
    ),
    "push-refused": CodeInfo(
        "The repository's remote refused a push: a hook, a protected branch or missing rights.",
        "Read the remote's words; an operator gives the server's account the right, then send it again.",
        Exit.REFUSED,
    ),
    "cluster-unreachable": CodeInfo(
        "The cluster's API server cannot be reached, or did not answer in time.",
        "Check the cluster named in infra.toml; the request can be sent again.",
        Exit.UNREACHABLE,
    ),
    "cluster-error": CodeInfo(
        "The API server answered with an error.", "See the message; `infra-mcp request ID` shows how far it came."
    ),
    # -- name servers
    "zone-unreachable": CodeInfo(
        "A zone's name server cannot be reached, or did not answer in time.",
        "Check server and servers in the section of the zone in infra.toml; the request can be sent again.",
        Exit.UNREACHABLE,
    ),
    "zone-denied": CodeInfo(
        "A zone's name server does not take the update, or does not have the zone.",
        "Check server, key_file and the server's update policy: docs/dns.md.",
        Exit.REFUSED,
    ),
    "url-unavailable": CodeInfo(
        "A page that evidence names gives no answer that can be used.",
        "Check url in the evidence of the app in infra.toml.",
        Exit.UNREACHABLE,
    ),
    "pull-secret-unavailable": CodeInfo(
        "A pull secret's source cannot be read or is not a pull secret.",
        "An operator checks the source named in infra.toml and the rights from `infra-mcp rbac render`.",
    ),
    "plan-failed": CodeInfo(
        "OpenTofu or Terraform cannot initialise, plan or read the workspace.",
        "See the message, which has its reason; nothing was changed.",
    ),
    "plan-differs": CodeInfo(
        "Two plans of the same ground differ, so that no approval could be for either.",
        "Give the named value a fixed one, or name it as volatile in the workspace's section of infra.toml.",
    ),
    "workspace-locked": CodeInfo(
        "Someone else holds the state of the workspace.",
        "Send it again when they are done; a lock whose holder is gone is released with force-unlock and its id.",
        Exit.UNREACHABLE,
    ),
    "run-stopped": CodeInfo(
        "A program took too long, or printed too much.", "See the message; a workspace has a timeout in infra.toml."
    ),
    "not-landed": CodeInfo(
        "It was applied and did not reach the requested state.", "Correct the cause in the message and send it again."
    ),
    "undo-incomplete": CodeInfo(
        "The rollback is incomplete: others changed the same since, or the former version does not come up.",
        "A person looks at the named objects and files.",
        Exit.NEEDS_OPERATOR,
    ),
    "cannot-observe": CodeInfo(
        "An interruption left the outcome unknown.", "A person looks at what is named.", Exit.NEEDS_OPERATOR
    ),
    # -- ourselves
    "ledger-unavailable": CodeInfo(
        "The ledger cannot be written, so nothing may be changed.",
        "An operator checks the state directory: `infra-mcp status`.",
        Exit.UNREACHABLE,
    ),
    "ledger-newer": CodeInfo(
        "The ledger was written by a newer version.", "Run that version or a newer one.", Exit.UNREACHABLE
    ),
    "server-unreachable": CodeInfo("No infra-mcp server answers.", "Start one: `infra-mcp serve`.", Exit.UNREACHABLE),
    "server-running": CodeInfo(
        "Another server already owns this state directory.", "Use that one, or stop it first.", Exit.UNREACHABLE
    ),
    "timed-out": CodeInfo(
        "The wait ran out; the request goes on.", "Ask again with `get_request` or `wait_on_ack`.", Exit.UNREACHABLE
    ),
    "setup-failed": CodeInfo(
        "Something this command needs is missing on this machine.",
        "Mend what the message names, and run it again.",
        Exit.UNREACHABLE,
    ),
    "internal": CodeInfo(
        "An internal error of infra-mcp.", "See the server's log; the request's record says how far it came."
    ),
}
