"""Packages: which requirements are let through, installing them, telling what is installed."""
