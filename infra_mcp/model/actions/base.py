"""What every action is: its fields, and as class variables all that tools, command line, sentences and pages say."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from infra_mcp.model.names import AppName, Frozen, Version


class ActionModel(Frozen):
    """One typed change. A class below it is all that is said of an action anywhere: see `model.actions`.

    Attributes:
        action: its name, the same for all of a class.
        title: for people, two to five words.
        description: for whoever chooses a tool: when to use it, what it does, what it leaves alone.
        summary: one line for the command line's help.
        example: arguments as they are sent; shown where an example helps, and parsed by a test.
        positional: fields that the command line takes by position, in order; the others are options.
        options: the option of a field where it is not the field's name, less the `s` of one that may be repeated.
        sentences: for each field that a sentence can say, one that says it; only the action that `mesh.grammar` reads.
        verbs: words by which a sentence means this action; it is answered with the block to send.
        first_edition: whether a policy grants it that was accepted before acceptances said which actions there were.
        listed: whether it stands in `tools/list` by itself, and not only behind `change`.
    """

    action: str

    title: ClassVar[str]
    description: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[dict[str, object]]
    positional: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[dict[str, str]] = {}
    sentences: ClassVar[dict[str, str]] = {}
    verbs: ClassVar[frozenset[str]] = frozenset()
    first_edition: ClassVar[bool] = False
    listed: ClassVar[bool] = False


class AppAction(ActionModel):
    """An action about one app of the catalogue."""

    app: AppName = Field(description="The app's name in the policy's catalogue.")


class Release(AppAction):
    """An action that brings an app to a version: releases order, wait and supersede by it."""

    version: Version = Field(description="The image tag to run, e.g. 0.13.4.")
