"""Describes the interpreter that runs it; a script for any Python from 3.6.

    python main.py probe FENCE (interpreter | distributions | torn SINCE)

Prints JSON between two lines FENCE. Imports the standard library only, and runs nothing that is
installed, as it is not behind walls (`bare`). The answer must be what the kernel finds, which sees
the user's site folder and `PYTHONPATH`. ASCII only, so that Python 2 can at least say that it is
Python 2.
"""

import io
import json
import os
import platform
import re
import sys

from .bare import settle


def main():
    """Print what is asked for."""
    fence, question, arguments = sys.argv[1], sys.argv[2], map(float, sys.argv[3:])
    answers = {"interpreter": describe, "distributions": distributions, "torn": torn}
    told = json.dumps(answers[question](settle(), *arguments))
    answer = "\n%s\n%s\n%s\n" % (fence, told, fence)
    with io.open(1, "wb", closefd=False) as out:  # as bytes, in any Python
        out.write(answer.encode("ascii"))


def describe(path):
    """The interpreter; `path` is where its imports look."""
    import sysconfig  # which looks at the prefixes once, and not before they are settled

    return {
        "executable": sys.executable,
        "version": list(sys.version_info[:3]),
        "implementation": platform.python_implementation(),
        "prefix": sys.prefix,
        "base_prefix": getattr(sys, "base_prefix", sys.prefix),
        "platform": sysconfig.get_platform(),
        "purelib": sysconfig.get_path("purelib"),
        "abi": sysconfig.get_config_var("EXT_SUFFIX") or "",
        "path": path,
        "markers": _markers(),
    }


def _markers():
    """The values of environment markers (PEP 508), none in Python 2."""
    implementation = getattr(sys, "implementation", None)
    if implementation is None:
        return {}
    return {
        "implementation_name": implementation.name,
        "implementation_version": ".".join(map(str, implementation.version[:3])),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": "%d.%d" % sys.version_info[:2],
        "sys_platform": sys.platform,
    }


def distributions(path):
    """What is installed: name, version, folder and import names of each distribution."""
    try:
        from importlib import metadata
    except ImportError:
        return []
    found = []
    seen = set()
    for distribution in metadata.distributions(path=path):
        try:
            described = _describe(distribution)
        except Exception:
            continue  # a folder that an installer left behind, or metadata that is no text
        key = re.sub(r"[-_.]+", "-", described["name"]).lower()
        if key not in seen:  # the first on the path is the one that is imported
            seen.add(key)
            found.append(described)
    return found


def torn(path, since):
    """Names of distributions that were touched after `since` (epoch seconds) and lack files.

    An installer that was killed leaves them; caches of bytecode do not count.
    """
    from importlib import metadata

    found = []
    for distribution in metadata.distributions(path=path):
        folder = getattr(distribution, "_path", None)
        try:
            name = distribution.metadata["Name"]
            touched = os.stat(str(folder)).st_mtime >= since
            if name and touched and str(folder).endswith(".dist-info") and _lacks(distribution):
                found.append(str(name))
        except Exception:
            continue  # nothing can be said of it
    return sorted(found)


def _lacks(distribution):
    """True when a file that a distribution lists is not there, or no list is."""
    files = distribution.files
    return files is None or not all(
        str(file).endswith(".pyc") or os.path.lexists(str(distribution.locate_file(file)))
        for file in files
    )


def _describe(distribution):
    headers = distribution.metadata
    return {
        "name": str(headers["Name"] or _refuse("it has no name")),
        "version": str(headers["Version"] or _refuse("it has no version")),
        "location": str(distribution.locate_file("")),
        "modules": sorted(_modules(distribution)),
    }


def _refuse(reason):
    raise ValueError(reason)


def _modules(distribution):
    """The top-level import names, from its own list or from its files."""
    try:
        listed = distribution.read_text("top_level.txt")
        files = () if listed else distribution.files or ()
    except Exception:  # what it says of its files can't be read; it is there all the same
        return set()
    if listed:
        return set(listed.split())
    names = set()
    for file in files:
        parts = str(file).replace("\\", "/").split("/")
        name = parts[0].partition(".")[0]
        code = parts[-1].endswith((".py", ".so", ".pyd"))
        if code and name.isidentifier() and not parts[0].endswith((".dist-info", ".data")):
            names.add(name)
    return names
