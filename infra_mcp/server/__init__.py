"""The channels: MCP over HTTP and over a unix socket, and the methods only the operator has."""
