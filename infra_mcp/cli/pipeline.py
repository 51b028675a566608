"""The idempotency key of a change: given, or made from the pipeline's run, so that a re-run does not deploy twice.

A key is made only when none is given, and not for a dry run: from `--run-id`, else from the run that GitHub Actions or
GitLab CI name in the environment. It is the system, the run's id, and a digest of system, project, run, job, action and
fields. So one job may ask for several changes, a job that is run again gets the first result of each, failures too, and
a new run asks anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from infra_mcp.settings import given_run

_KEPT = 48  # characters of a run's id that stand in the key, for people
_DIGEST = 32  # hex digits: 128 bits
_SOURCES = {
    "run": "--run-id",
    "github": "GITHUB_RUN_ID and GITHUB_JOB",
    "gitlab": "CI_PIPELINE_ID and CI_JOB_NAME",
}


@dataclass(frozen=True)
class Key:
    """An idempotency key and where it comes from; `source` is empty for one of this command alone."""

    value: str
    source: str = ""
    derived: bool = False


def key_options(parser: argparse.ArgumentParser) -> None:
    """`--idempotency-key` and `--run-id`."""
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key again gives the first result")
    parser.add_argument(
        "--run-id",
        metavar="ID",
        help="make the key from this run, the action and its fields (default: the run of GitHub Actions or GitLab CI)",
    )


def key_for(action: str, fields: dict[str, Any], *, given: str | None, run_id: str | None, once: bool) -> Key:
    """The key a change is sent with. There is always one, so that a lost answer can be asked for again.

    Args:
        action: the action's name.
        fields: its fields, as they are sent.
        given: a key that is given, which is taken as it is.
        run_id: a run that is given, instead of the one in the environment.
        once: make no key from any run.
    """
    if given is not None:
        return Key(given, "--idempotency-key")
    run = ("run", "", run_id, "") if run_id is not None else given_run()
    if run is None or once:
        return Key(f"cli/{secrets.token_hex(16)}")
    identity = json.dumps([*run, action, fields], sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST]
    shown = re.sub(r"[^A-Za-z0-9._-]", "-", run[2])[:_KEPT]
    return Key(f"{run[0]}/{shown}/{digest}", _SOURCES[run[0]], derived=True)
