"""TOML, edited as text: all but one table stays as it is, to the byte. Pure.

A table is found by its header. What is laid out in another way, such as dotted keys, is left to
whoever checks the result.
"""

import tomllib
from collections.abc import Mapping

from kernel_exec.jsons import JSON


def parse(text: str) -> Mapping[str, JSON]:
    """The table of the document.

    Raises:
        ValueError: It is no TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
