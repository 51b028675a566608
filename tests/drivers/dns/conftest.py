"""A primary and a secondary of a zone, and a driver that is connected to it."""

import pytest
from name_servers import free_port, primary, secondary


@pytest.fixture
def bind(tmp_path_factory):
    """A primary whose key may write every type that the product writes."""
    with primary(tmp_path_factory.mktemp("p")) as made:
        yield made


@pytest.fixture
def pair(tmp_path_factory):
    """A primary and the secondary that it notifies."""
    port = free_port()
    with (
        primary(tmp_path_factory.mktemp("p"), notify=port) as first,
        secondary(tmp_path_factory.mktemp("s"), first, port) as second,
    ):
        yield first, second
