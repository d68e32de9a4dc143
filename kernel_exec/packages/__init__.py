"""Packages: which requirements are accepted, installing them, listing installed ones."""
