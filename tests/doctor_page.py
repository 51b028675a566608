"""docs/doctor.md, made from the table of checks by `python tests/pages.py`."""

from __future__ import annotations

from infra_mcp.doctor import CHECKS

_DOCTOR = """\
`infra-mcp doctor` looks at everything that the server depends on and says what is wrong or risky, each with the
command that mends it. Run it on the server's machine, as the server's user, in the infra repository. Where a server
runs, it judges the environment and the kubeconfig that this server was started with; else its own. It writes nothing:
not in the repository or the state directory, not in a cluster, not at a forge.

```
infra-mcp doctor
infra-mcp doctor ledger policy.accepted
infra-mcp doctor --all --json
```

The checks of the area `read` make every read that the server makes, once: as each circle, of each place, at the
remote, the forge and the issuers. Runs of Terraform have a state directory that is thrown away. Where such a read
fails, the command shows more of why.

Without a name all checks run, side by side, each within its own time. A name is a check, or the area before the
point.

| level | meaning | exit code |
|---|---|---|
| `failed` | it is wrong: the next request may fail by it, or others may read or change what is ours | 1 |
| `risk` | it works, and somebody could do harm by it, or it ends soon | 7, where nothing failed |
| `pass` | all is well; printed with `--all` | 0 |
| `empty` | there is nothing to look at, such as no webhook | 0 |
| `skipped` | it could not be looked at, for a reason that is no fault, or that another check reports | 0 |

With `--json` it prints `checks`, a list of `check`, `level`, `what` and `fix`, and `exit`. Read the printed command
before you run it: where only you know a value, such as a new token or an address, it reads it from its input or has a
word in capitals. A command that sets a variable is for the shell, or the service's unit, that starts the server.
"""


def doctor_page(made: str) -> str:
    """docs/doctor.md: every check of `infra-mcp doctor`, by its area; `made` says what makes the page."""
    lines = ["# infra-mcp doctor\n", made, _DOCTOR, "| check | what holds when it passes |", "|---|---|"]
    lines += [f"| `{one.id}` | {one.title} |" for one in CHECKS.values()]
    return "\n".join(lines) + "\n"
