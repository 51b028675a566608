"""Concurrent calls whose errors arrive as themselves instead of inside a group: callers handle single failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first error of a task group in the block as itself; the others are its consequences."""
    try:
        yield
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def gather(calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run all calls concurrently and return their results in the given order.

    The first that fails cancels the others; the error of the earliest call that failed is raised.
    """
    waiting = list(calls)
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}

    async def run(index: int, call: Callable[[], Awaitable[T]], scope: anyio.CancelScope) -> None:
        try:
            results[index] = await call()
        except Exception as error:  # noqa: BLE001 - raised again below, as itself
            errors[index] = error
            scope.cancel()

    if len(waiting) == 1:
        return [await waiting[0]()]
    async with anyio.create_task_group() as group:
        for index, call in enumerate(waiting):
            group.start_soon(run, index, call, group.cancel_scope)
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(waiting))]


async def gather_pair(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """`gather` for two calls with results of different types."""
    calls: list[Callable[[], Awaitable[Any]]] = [one, other]
    first, second = await gather(calls)
    return first, second
