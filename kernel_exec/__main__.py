"""Runs the command line as `python -m kernel_exec`."""

import sys
from pathlib import Path

# `-m` puts the current folder first, where a file may have the name of any module
if sys.path and not sys.flags.safe_path and sys.path[0] != str(Path(__file__).parents[1]):
    del sys.path[0]

from kernel_exec.relay.entry import main

if __name__ == "__main__":
    main()
