"""Runs the command line as `python -m kernel_exec`."""

from kernel_exec.cli.main import main

if __name__ == "__main__":
    main()
