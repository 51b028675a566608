"""`infra-mcp doctor`: what is wrong or risky in how the server is set up, each with the command that mends it."""

from infra_mcp.doctor.examine import examine
from infra_mcp.doctor.finding import CHECKS, Level

__all__ = ["CHECKS", "Level", "examine"]
