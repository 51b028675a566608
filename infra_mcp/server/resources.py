"""Resources: requests and namespaces that a host can show or attach without a call of a tool.

Each is read as by its tool, `get_request` or `status`, with the same scope, bounds and masking.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mcp.types import ResourceTemplate
from pydantic import ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.server.tools import control

if TYPE_CHECKING:
    from infra_mcp.server.answers import Answer
    from infra_mcp.server.tools.call import Call

MIME = "application/json"
TEMPLATES = tuple(
    ResourceTemplate(name=name, title=title, uri_template=uri, description=description, mime_type=MIME)
    for name, title, uri, description in (
        ("request", "A request", "infra://requests/{id}", "Its state, receipt and trail, as get_request shows them."),
        ("namespace", "A namespace", "infra://namespaces/{ns}", "A namespace as it is now, as status shows it."),
    )
)
_FORM = re.compile(r"infra://(requests|namespaces)/([A-Za-z0-9-]{1,63})")


async def look_up(call: Call, uri: str) -> Answer:
    """Read the resource of a URI; it is the answer's data.

    Raises:
        InfraError: `not-found`, with the same message for another circle's, and never with the URI in it.
    """
    form = _FORM.fullmatch(uri)
    if form is None:
        templates = ", ".join(template.uri_template for template in TEMPLATES)
        raise InfraError("not-found", "There is no such resource.", next_step=f"There are: {templates}.")
    kind, name = form.groups()
    if kind == "requests":
        return await control.look_at_request(call, name)
    try:
        namespace = control.StatusArguments.model_validate({"namespace": name}).namespace
    except ValidationError:
        raise InfraError("not-found", "There is no such namespace, or it is not yours.") from None
    return await control.look_at_status(call, namespace=namespace)
