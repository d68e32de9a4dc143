"""Notebooks: the document exported from a session."""
