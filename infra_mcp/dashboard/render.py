"""Page values as HTML: every value is escaped, and every character of it is visible.

Jinja2 is imported here only, and this module by the first page that is shown.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from infra_mcp.text import visible

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("infra_mcp.dashboard"),
        autoescape=True,  # whatever a template is called
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"ago": _ago, "exact": exact, "duration": duration, "diff": diff_lines, "seg": _segment}
    return made


def page(template: str, values: dict[str, Any]) -> bytes:
    """A page as HTML.

    Args:
        template: its file.
        values: what it shows, JSON values; `now` among them, ISO 8601.
    """
    return _environment().get_template(template).render(values).encode()


def _shown(value: Any) -> Any:  # noqa: ANN401 - any value of a template
    """A value with every character visible; what a template made itself stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def exact(at: str) -> str:
    """A time of the ledger as people write it, in UTC."""
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """A length of time in its largest unit: `4 min`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{int(seconds // size)} {unit}"


@pass_context
def _ago(context: Context, at: str) -> str:
    """A time relative to the page's own: `4 min ago`, `in 56 min`."""
    passed = (datetime.fromisoformat(context["now"]) - datetime.fromisoformat(at)).total_seconds()
    return f"in {duration(-passed)}" if passed <= -1 else "now" if passed < 1 else f"{duration(passed)} ago"


def diff_lines(diff: str) -> list[tuple[str, str]]:
    """The lines of a diff, each with its class in the stylesheet: added, deleted, or neither."""
    return [({"+": "a", "-": "d", "@": "f"}.get(line[:1], "s"), line) for line in diff.splitlines()]


def _segment(text: str) -> str:
    """A text as one segment of an address."""
    return quote(text, safe="")
