"""Environments: what the user configured, what was found for it, how ipykernel reaches it."""
