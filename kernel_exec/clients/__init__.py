"""MCP clients: where their configurations are, and how one comes to start this server."""
