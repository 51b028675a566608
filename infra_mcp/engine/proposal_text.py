"""What a pull request of ours says: the change, why, who asked, what it reaches, and how to undo it."""

from __future__ import annotations

from collections.abc import Iterable

from infra_mcp.engine.run import Run
from infra_mcp.model import forge_text
from infra_mcp.model.approval import Need
from infra_mcp.model.forge_text import code, fenced
from infra_mcp.policy.approvals import BY_REVIEW, in_words
from infra_mcp.text import clip

_MAX_BODY = 50_000  # bytes; forges take some 64 kB
_MAX_LISTED = 100  # objects
_MAX_TITLE = 100
_MAX_NOTE = 500
_WHOSE = "Who asked for the change or has a commit in it does not count. Merged without that, it is taken back."


def title(run: Run) -> str:
    """The title of the pull request with the change."""
    return forge_text.title("; ".join(stage.edit.goal.title for stage in run.plan.stages), _MAX_TITLE)


def body(run: Run, until: str, needs: Iterable[Need] = ()) -> str:
    """The text below it.

    Args:
        run: planned.
        until: when it is closed if it is neither merged nor closed by then.
        needs: what rules want of people there.
    """
    request, effect = run.request, run.plan.effect
    who = request.caller.name + (f" (circle {request.caller.circle})" if request.caller.circle else "")
    parts = [f"{who} asked for this change. Merging it carries it out; infra-mcp never merges."]
    if words := request.reason or request.words:
        parts += ["They said:", fenced(words)]
    if reached := sorted({f"{one.by or one.delivery} of {one.root}" for one in effect.reach}):
        parts.append("It reaches:\n\n" + "\n".join(f"- {code(one)}" for one in reached))
    if notes := run.plan.notes:
        parts.append("Notes:\n\n" + "\n".join(f"- {code(note, _MAX_NOTE)}" for note in notes))
    parts.append("It changes:\n\n" + "\n".join(f"- {file.operation} {code(file.path)}" for file in effect.files))
    if changes := [f"- {one.operation} {code(str(one.target))}" for one in effect.changed]:
        parts.append("And what infra-mcp applies after the merge:\n\n" + "\n".join(changes[:_MAX_LISTED]))
    for need in needs:
        what = "of its last commit, before it is merged" if need.by == BY_REVIEW else "of this pull request"
        parts.append(f"Rule {code(need.rule.removeprefix('rules.'))} wants {in_words(need)} {what}. {_WHOSE}")
    facts = {"Request": request.id, "Effect": effect.digest, "Open until": until}
    parts.append("\n".join(f"- {name}: `{value}`" for name, value in facts.items()))
    parts.append(
        "Edits elsewhere on this branch are welcome. Where a value of this change is merged with another value, the "
        f"request ends and nothing of it is applied. Once it has landed, `infra-mcp rollback {request.id}` takes it "
        "back. Closing this pull request ends the request."
    )
    return clip("\n\n".join(parts), _MAX_BODY)[0]


def reversal(run: Run, cause: str) -> tuple[str, str]:
    """Title and text of the pull request that takes the change back."""
    url = run.record.proposal.url if run.record.proposal else ""
    rows = [
        f"{url or 'The change'} was merged and did not land; this takes it back. It is urgent.",
        fenced(cause),
        f"- Request: `{run.request.id}`",
    ]
    return forge_text.title(f"Roll back {run.request.id}"), "\n\n".join(rows)
