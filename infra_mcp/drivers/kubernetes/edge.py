"""The edge of a cluster's driver: the cluster's own errors become the product's here, and pass nothing above."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from infra_mcp.clients.kube import KubeError

P = ParamSpec("P")
R = TypeVar("R")


def translated(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A driver's method whose `KubeError` is raised in the product's own words; `Unavailable`, when nobody answered."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except KubeError as error:
            raise error.translate(None) from error

    return call
