"""The command line: `hansa ...`, for people at a desk and for what starts processes."""

from hansa.cli.main import main

__all__ = ["main"]
