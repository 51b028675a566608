"""Programs that infra-mcp runs: found on this machine, or gotten once as a package, a release or a build."""
