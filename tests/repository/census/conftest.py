"""A census of files, and what a deploy of an app there would write."""

import pytest

from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.locator.version import locate


@pytest.fixture
def census(tree_of):
    return lambda files, **options: Census(Index(tree_of(files, **options)))


@pytest.fixture
def environments():
    """The names of an app's instances."""
    return lambda census, app: [one.environment for one in census.find(app)]


@pytest.fixture
def deployed():
    """The changed files after a deploy, and the notes of its plan."""

    def deploy(census, app, version, environment=None, **options):
        several = census.find(app)
        alone = environment is None and len(several) == 1
        instance = several[0] if alone else next(one for one in several if one.environment == environment)
        found = locate(census, instance, version, **options)
        edits = [
            SetValue(
                path=spot.path,
                document=spot.document,
                field=spot.field,
                inside=spot.inside,
                before=spot.value,
                after=value,
            )
            for spot, value in found.sets
            if spot.value != value
        ]
        changed = apply_edits(census.index.tree, edits).changed
        return {path: data.decode() for path, data in changed.items()}, found.notes

    return deploy
