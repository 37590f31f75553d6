"""Hansa: a runtime for many small services, and the services of a website business on it.

It exists so that no oversold unit, double charge or lost order can come from a crash, a retry or a
careless line: what leaves a command, leaves through its transaction. Imports point downwards only:
business, platform, kernel. What must never happen: a module here that does work when imported.
"""

__version__ = "0.1.0"
