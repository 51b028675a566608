"""The edit of a restart: nothing in the repository, one work beside it."""

import anyio
import pytest

from infra_mcp.actions.restart import edit
from infra_mcp.model.actions.restart import Restart


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("on_failure", ["rollback", "hold"])
def test_a_restart_changes_and_needs_no_file(look_at, kind, on_failure):
    look = look_at("", kind.lower(), on_failure)
    made = anyio.run(edit, look, Restart(app="docs"))

    assert (made.tree, made.changes, made.addressed) == (look.tree, (), ())
    (work,) = made.beside
    assert (work.driver, work.work) == ("kubernetes", "restart")
    assert (work.target.scope, work.target.kind, work.target.name) == ("docs-live", f"apps/{kind}", "docs")
    assert (made.goal.on_failure, made.goal.grace, made.goal.timeout) == (on_failure, 7.0, 180.0)
