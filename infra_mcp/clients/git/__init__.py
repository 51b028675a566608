"""git, as the infra repository is read, built beside and moved: see `Git`."""

from infra_mcp.clients.git.objects import Entry
from infra_mcp.clients.git.repository import Git
from infra_mcp.clients.git.runner import shown

__all__ = ["Entry", "Git", "shown"]
