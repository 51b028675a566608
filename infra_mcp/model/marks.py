"""Names that we write into a cluster and that safety depends on, each defined only here.

Others can write all but `WRITE`, so these prove nothing about who made an object.
"""

from typing import Final

BINDING: Final = "infra-mcp-circle"  # the RoleBinding in each of a circle's namespaces
HELM_BINDING: Final = "infra-mcp-circle-helm"  # the one for Helm, in each of its namespaces where Helm may work
# The server's own in the same namespaces: what it may do there as the account that the other one binds.
SERVER_BINDING: Final = "infra-mcp-server"
HELM_SERVER_BINDING: Final = "infra-mcp-server-helm"
BINDINGS: Final = frozenset({BINDING, HELM_BINDING, SERVER_BINDING, HELM_SERVER_BINDING})
PREFIX: Final = "infra-mcp.dev/"  # of our labels and annotations
ONLY_OURS: Final = f"only infra-mcp may set or change {PREFIX}* labels and annotations here"  # what refuses others says
CIRCLE: Final = f"{PREFIX}circle"  # label of a namespace: the circle it was made for
REQUEST: Final = f"{PREFIX}request"  # annotation: the id of the request that wrote last; for people
WRITE: Final = f"{PREFIX}write"  # annotation: a nonce that leaves the process in its own write only
RESTART: Final = "infra-mcp.dev/restart"  # annotation of a pod template: the request that restarted it last
OWNER: Final = f"{PREFIX}owner"  # annotation of a namespace: whom to ask about it
PULL_SECRETS: Final = f"{PREFIX}pull-secrets"  # annotation of a service account: its pull secrets' names in policy
# The types of Secret that are pull secrets, each with the one key of its data.
PULL_SECRET_TYPES: Final = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}
