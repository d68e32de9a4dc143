"""What this interpreter would be, without running anything that is installed for it.

    python -E -S -B main.py bare [OPTIONS] (-c CODE | -m MODULE) [ARGUMENT ...]

Runs code of the caller's or a module of the standard library. Else a start runs the import lines of
`.pth` files and `sitecustomize`, which code behind walls can write where such a file leads to its
folders. ASCII and any Python from 3.6, as `probe`.
"""

import os
import sys


def settle():
    """Have the prefixes of a usual start; where imports would look, while ours stay as they are."""
    own = sys.path[:]
    if sys.version_info < (3,):  # which only says what it is
        return own
    import site

    if os.environ.get("PYTHONNOUSERSITE"):  # `-E` has ignored it
        site.ENABLE_USER_SITE = False
    for name in ("exec", "execsitecustomize", "execusercustomize"):  # `exec` for what `.pth` says
        setattr(site, name, _run_nothing)
    site.main()
    named = os.environ.get("PYTHONPATH", "")
    first = [os.path.abspath(each) for each in named.split(os.pathsep) if each]
    path = list(dict.fromkeys(first + sys.path))
    sys.path[:] = own
    return path


def _run_nothing(*_):
    pass


def main():
    """Run what the arguments name."""
    import runpy

    settle()
    while sys.argv[1] not in {"-c", "-m"}:  # options that hold here in any case
        del sys.argv[1]
    kind, what = sys.argv[1:3]
    sys.argv[:3] = [kind]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
