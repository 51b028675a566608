"""The base of actions: the fields, and as class variables the texts of tools, command line, sentences and pages."""

from typing import Annotated, ClassVar

from pydantic import Field

from infra_mcp.model.names import AppName, ClusterName, Frozen, Version

Cluster = Annotated[
    ClusterName | None, Field(description="The cluster's name in policy; may be left out when there is one.")
]


class ActionModel(Frozen):
    """One typed change. Its subclass holds every text and option of an action: see `model.actions`.

    Attributes:
        action: its name.
        title: for people, two to five words.
        description: for the choice of a tool: when to use it, what it does, what it leaves alone.
        summary: one line for the command line's help.
        example: example arguments; parsed by a test.
        positional: fields that the command line takes by position, in order; the others are options.
        options: the option of a field, where it is not the field's name, without the `s` of a repeated one.
        sentences: an example sentence for each field of the action that `mesh.grammar` reads.
        verbs: words for this action in a sentence; the answer is the block to send.
        first_edition: whether a policy of the first edition, whose acceptance names no actions, grants it.
        listed: whether `tools/list` has it as a tool of its own, and not only through `change`.
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
    """An action that brings an app to a version, by which releases are ordered and superseded."""

    version: Version = Field(description="The image tag to run, e.g. 0.13.4.")
