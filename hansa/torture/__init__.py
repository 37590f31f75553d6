"""Torture: load, SIGKILL at random, restart, and a check of every promise. Repeatable by its seed.

What must never happen here: a check that cannot fail. Planted bugs (module plants) show that each
one can.
"""
