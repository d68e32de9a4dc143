"""Tells about the interpreter that runs it; a script for any Python from 3.6.

    python _probe.py FENCE [distributions]

Prints one JSON object between two lines FENCE, so that what a noisy `sitecustomize` prints does
no harm. Imports the standard library only, and nothing that is installed. It runs without `-I`:
the kernel will see the user's site folder and `PYTHON…` settings too, and the answer must be
what the kernel finds.
"""

import json
import os
import platform
import sys
import sysconfig


def main():
    """Print what is asked for."""
    told = describe()
    if "distributions" in sys.argv[2:]:
        told["distributions"] = distributions()
    sys.stdout.write("\n%s\n%s\n%s\n" % (sys.argv[1], json.dumps(told), sys.argv[1]))
    sys.stdout.flush()


def describe():
    """The interpreter."""
    return {
        "executable": sys.executable,
        "version": list(sys.version_info[:3]),
        "implementation": platform.python_implementation(),
        "prefix": sys.prefix,
        "base_prefix": getattr(sys, "base_prefix", sys.prefix),
        "platform": sysconfig.get_platform(),
        "purelib": sysconfig.get_path("purelib"),
    }


def distributions():
    """What is installed: name, version, folder and import names of each distribution."""
    try:
        from importlib import metadata
    except ImportError:
        return []
    found = []
    seen = set()
    here = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    for distribution in metadata.distributions(path=path):
        name = distribution.metadata["Name"]
        if not name or name.lower() in seen:
            continue  # the first on the path is the one that is imported
        seen.add(name.lower())
        found.append(
            {
                "name": name,
                "version": distribution.version,
                "location": str(distribution.locate_file("")),
                "modules": sorted(_modules(distribution)),
            }
        )
    return found


def _modules(distribution):
    """The top-level import names, from its own list or from its files."""
    listed = distribution.read_text("top_level.txt")
    if listed:
        return {name for name in listed.split() if name}
    names = set()
    for file in distribution.files or ():
        parts = str(file).replace("\\", "/").split("/")
        name = parts[0].partition(".")[0]
        code = parts[-1].endswith((".py", ".so", ".pyd"))
        if code and name.isidentifier() and not parts[0].endswith((".dist-info", ".data")):
            names.add(name)
    return names


if __name__ == "__main__":
    main()
