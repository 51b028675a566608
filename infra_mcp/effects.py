"""Names for all effects: each function that writes the ledger, git or the cluster is marked `@effect("name")`.

Tests stop the process before or after an effect and prove that the list is complete, and the benchmark attributes time.
The product does not depend on observers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Observer = Callable[[str, str], None]

EFFECTS: dict[str, str] = {}
_observers: list[Observer] = []


def observe(observer: Observer) -> None:
    """Call `observer(name, "before" | "after")` around every effect of this process from now on."""
    _observers.append(observer)


def effect(name: str) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Mark an async function as an effect called `name`.

    Raises:
        ValueError: the name is taken, at import.
    """

    def mark(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        if name in EFFECTS:
            msg = f"two effects are called {name}"
            raise ValueError(msg)
        EFFECTS[name] = f"{function.__module__}.{function.__qualname__}"

        @wraps(function)
        async def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            for observer in _observers:
                observer(name, "before")
            result = await function(*args, **kwargs)
            for observer in _observers:
                observer(name, "after")
            return result

        return marked

    return mark
