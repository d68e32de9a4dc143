"""Stored `.py` files: saved, appended to, read by pages, and never outside of their folder."""
