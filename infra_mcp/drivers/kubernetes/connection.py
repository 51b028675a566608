"""What every driver of a cluster has in common: what the cluster's name means, and whose errors its methods raise."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Place
from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import Policy

P = ParamSpec("P")
R = TypeVar("R")


def translated(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A driver's method that raises the product's errors for a cluster's; `Unavailable`, when nothing answered."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except KubeError as error:
            raise error.translate(None) from error

    return call


def place(policy: Policy, name: str) -> Place:
    """What a cluster's name stands for in a policy.

    Raises:
        InfraError: `policy-invalid`: the policy names no such cluster.
    """
    rules = policy.clusters.get(name)
    if rules is None:
        raise InfraError("policy-invalid", "The policy has no such cluster.")
    return Place(f"{name} ({rules.context})", (name, rules.context))


async def answers(cluster: Cluster) -> bool:
    """Whether the API server answers and takes the login, whatever rights that has."""
    try:
        await cluster.check()
    except KubeError as error:
        return error.status == HTTPStatus.FORBIDDEN
    return True
