"""Resources: what a host can show or attach without a call of a tool, and no more than the tools show this caller.

Each is read as the tool beside it: a request as `get_request`, a namespace as `status`. So scope, bounds and masking
are theirs, and what is out of scope looks like not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mcp.types import ResourceTemplate
from pydantic import TypeAdapter, ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.names import DnsLabel
from infra_mcp.server.tools import control, read

if TYPE_CHECKING:
    from infra_mcp.server.answers import Answer
    from infra_mcp.server.tools.tool import Call

MIME = "application/json"
TEMPLATES = (
    ResourceTemplate(
        name="request",
        title="A request",
        uri_template="infra://requests/{id}",
        description="Where a request stands, with receipt and trail; as get_request shows it.",
        mime_type=MIME,
    ),
    ResourceTemplate(
        name="namespace",
        title="A namespace",
        uri_template="infra://namespaces/{ns}",
        description="A namespace of the caller's circle as it is now; as status shows it.",
        mime_type=MIME,
    ),
)
_FORM = re.compile(r"infra://(requests|namespaces)/([A-Za-z0-9-]{1,63})")
_NAMESPACE: TypeAdapter[str] = TypeAdapter(DnsLabel)


async def look_up(call: Call, uri: str) -> Answer:
    """What a URI stands for; the answer's data is the resource.

    Raises:
        InfraError: `not-found`, in the same words for what is not there and for what is not this caller's, and never
            with the URI in them.
    """
    form = _FORM.fullmatch(uri)
    if form is None:
        templates = ", ".join(template.uri_template for template in TEMPLATES)
        raise InfraError("not-found", "There is no such resource.", next_step=f"There are: {templates}.")
    kind, name = form.groups()
    if kind == "requests":
        return await control.look(call, name)
    try:
        namespace = _NAMESPACE.validate_python(name)
    except ValidationError:
        raise InfraError("not-found", "There is no such namespace, or it is not yours.") from None
    return await read.look(call, namespace=namespace)
