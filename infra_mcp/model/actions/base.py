"""The base of actions: the fields, and as class variables the texts of tools, command line, sentences and pages."""

from typing import Annotated, ClassVar

from pydantic import Field

from infra_mcp.model.names import AppName, ClusterName, EnvironmentName, Frozen, Version

Cluster = Annotated[ClusterName | None, Field(description="The cluster's name in policy, where there are several.")]


class ActionModel(Frozen):
    """One typed change. Its subclass holds every text and option of an action: see `model.actions`."""

    action: str  # its name

    title: ClassVar[str]  # for people, two to five words
    description: ClassVar[str]  # for the choice of a tool: when to use it, what it does, what it leaves alone
    summary: ClassVar[str]  # one line for the command line's help
    example: ClassVar[dict[str, object]]  # example arguments; parsed by a test
    # Fields that the command line takes by position, in order; the others are options.
    positional: ClassVar[tuple[str, ...]] = ()
    # The option of a field, where it is not the field's name, without the `s` of a repeated one.
    options: ClassVar[dict[str, str]] = {}
    # An example sentence for each field of the action that `mesh.grammar` reads.
    sentences: ClassVar[dict[str, str]] = {}
    # Words for this action in a sentence; the answer is the block to send.
    verbs: ClassVar[frozenset[str]] = frozenset()
    # Words for what it sets, after a verb that says nothing of it: "set the replicas of docs to 3".
    nouns: ClassVar[frozenset[str]] = frozenset()
    # Whether a policy of the first edition, whose acceptance names no actions, grants it.
    first_edition: ClassVar[bool] = False
    # Optional fields that the action got later: where one is left out, the request is the same as one of before.
    later: ClassVar[frozenset[str]] = frozenset()
    listed: ClassVar[bool] = False  # whether `tools/list` has it as a tool of its own, and not only through `change`

    @property
    def steps_of(self) -> tuple["ActionModel", ...]:
        """The actions that it consists of, each in a stage of its own; itself where it is a single one."""
        return (self,)

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of its steps; none where it is a single action."""
        return ()


class AppAction(ActionModel):
    """An action about one app of the catalogue."""

    app: AppName = Field(description="The app's name in the policy's catalogue.")


class InstanceAction(AppAction):
    """An action about an app in one of its environments."""

    later: ClassVar[frozenset[str]] = frozenset({"environment"})

    environment: EnvironmentName | None = Field(
        None, description="Its environment, e.g. production, where it has several."
    )
    cluster: Cluster = None


class Release(InstanceAction):
    """An action that brings an app to a version, by which releases are ordered and superseded."""

    version: Version = Field(description="The version to run: an image's tag, or its tag and digest, e.g. 0.13.4.")
