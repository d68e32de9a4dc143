"""The MCP surface: tools, their arguments and what the model sees."""
