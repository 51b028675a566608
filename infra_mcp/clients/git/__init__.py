"""git, as the infra repository is read, built beside and moved: see `Git`."""

from infra_mcp.clients.git.clone import MOST
from infra_mcp.clients.git.login import Login, Remote
from infra_mcp.clients.git.objects import Entry
from infra_mcp.clients.git.remote import Upstream, remote_of
from infra_mcp.clients.git.repository import Git
from infra_mcp.clients.git.signing import Committer

__all__ = ["MOST", "Committer", "Entry", "Git", "Login", "Remote", "Upstream", "remote_of"]
