"""Walls around a kernel: what they promise, and how they are held."""
