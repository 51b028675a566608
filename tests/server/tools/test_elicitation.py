"""The parts of the SDK that a question to a person is made of. What they do together is in tools/test_approve.py."""

from __future__ import annotations

import inspect
from importlib.metadata import version

from mcp.server.mcpserver import resolve

from infra_mcp.server.tools.approve import Decision


def test_the_sdk_still_has_what_asking_takes():
    assert version("mcp").startswith("2.")
    assert list(inspect.signature(resolve.resolve_arguments).parameters) == [
        "resolved_params",
        "plans",
        "tool_args",
        "context",
    ]
    assert list(inspect.signature(resolve.build_resolver_plans).parameters) == ["resolved_params", "tool_arg_names"]
    assert {"Elicit", "Resolve", "resolve_arguments", "build_resolver_plans"} <= set(resolve.__all__)


def test_the_form_has_one_question_without_a_default_and_takes_nothing_else():
    assert list(Decision.model_fields) == ["approve"]
    assert Decision.model_fields["approve"].is_required()
    assert Decision.model_config["extra"] == "forbid"
    assert Decision.model_config["strict"] is True
