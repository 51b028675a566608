"""The action that makes several changes, one after the other, under one approval."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, ValidationError, model_validator

from infra_mcp.model.actions.base import ActionModel
from infra_mcp.model.names import Frozen
from infra_mcp.model.schema import listed, problems

StepName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
_ACTIONS: dict[str, type[ActionModel]] = {}  # those that may be a step; `model.actions` fills it


class Step(Frozen):
    """One change of a set."""

    name: StepName = Field(description="A name of your own, for progress and the answer.")
    action: str = Field(description="The action, e.g. deploy.", max_length=40)
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="Its arguments; `describe` lists them.")

    @model_validator(mode="after")
    def _is_an_action(self) -> Step:
        _ = self.change
        return self

    @cached_property
    def change(self) -> ActionModel:
        """The action with its arguments.

        Raises:
            ValueError: there is no such action, or an argument is wrong; no value is repeated.
        """
        form = _ACTIONS.get(self.action)
        if form is None:
            msg = f"must have an action of {', '.join(_ACTIONS)}"
            raise ValueError(msg)
        if "action" in self.arguments:
            msg = "must name its action beside its arguments only"
            raise ValueError(msg)
        try:
            return form.model_validate_json(json.dumps(self.arguments))
        except ValidationError as error:
            unknown, wrong = problems(error, "the arguments", meant=form)
            msg = f"of {self.action}: {listed([f'{one} is no argument' for one in unknown] + wrong)}"
            raise ValueError(msg) from None


def _distinct(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if len({one.name for one in steps}) < len(steps):
        msg = "must have different names"
        raise ValueError(msg)
    return steps


class ChangeSet(ActionModel):
    """Several changes in order: one plan, one approval, a commit for each."""

    title: ClassVar[str] = "Make several changes in order"
    description: ClassVar[str] = (
        "Use this when changes belong together, such as a namespace, a release in it and its DNS record: one plan, one "
        "approval, a commit for each step, in order. When a step fails, those before it are undone in reverse; what "
        "was created is kept and named."
    )
    summary: ClassVar[str] = "make several changes in order, under one approval; undo them when one fails"
    example: ClassVar[dict[str, object]] = {
        "steps": [
            {"name": "space", "action": "provision_namespace", "arguments": {"namespace": "docs-staging"}},
            {"name": "docs", "action": "deploy", "arguments": {"app": "docs", "version": "0.13.4"}},
        ]
    }

    options: ClassVar[dict[str, str]] = {"steps": "step"}

    action: Literal["change_set"] = "change_set"
    steps: Annotated[tuple[Step, ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=20, description="The changes, in order; name, action and arguments each."
    )

    @property
    def steps_of(self) -> tuple[ActionModel, ...]:
        """The actions of its steps."""
        return tuple(one.change for one in self.steps)

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of its steps, in order."""
        return tuple(one.name for one in self.steps)


def accept(actions: dict[str, Any]) -> None:
    """Let these actions be steps, by name."""
    _ACTIONS.update(actions)
