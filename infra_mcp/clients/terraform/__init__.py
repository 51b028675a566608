"""Runs OpenTofu or Terraform."""

from infra_mcp.clients.terraform.child import end_group, end_work
from infra_mcp.clients.terraform.cli import Cli, Place
from infra_mcp.clients.terraform.errors import TerraformError
from infra_mcp.clients.terraform.jail import Jail, find_jail
from infra_mcp.clients.terraform.program import Program, find_program
from infra_mcp.clients.terraform.stream import Diagnostic, Lock, Stream

__all__ = [
    "Cli",
    "Diagnostic",
    "Jail",
    "Lock",
    "Place",
    "Program",
    "Stream",
    "TerraformError",
    "end_group",
    "end_work",
    "find_jail",
    "find_program",
]
