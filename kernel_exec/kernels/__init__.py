"""Kernels: one running IPython process, the messages it exchanges and when an execution ends."""
