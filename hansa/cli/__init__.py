"""The command line: `hansa ...`, for people at a desk and for what starts processes.

It exists so that everything an operator does can be typed, read back and put into a script.
What must never happen: a command that changes rows past the services, a secret printed twice.
"""

import sys

try:
    from hansa.cli.main import main
except KeyboardInterrupt:  # by Ctrl-C, while it was being imported
    sys.exit(130)

__all__ = ["main"]
