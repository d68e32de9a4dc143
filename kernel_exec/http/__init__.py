"""MCP over HTTP: what may be opened, who gets in, and whose session a request belongs to."""
