"""Forges: where changes are proposed as pull requests, and where pipelines say how they fared."""

from infra_mcp.clients.forge.connect import Place, connect, place_of
from infra_mcp.clients.forge.forge import Account, Check, Deployment, Forge, Proposal, Review, Rights

__all__ = [
    "Account",
    "Check",
    "Deployment",
    "Forge",
    "Place",
    "Proposal",
    "Review",
    "Rights",
    "connect",
    "place_of",
]
