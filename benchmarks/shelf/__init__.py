"""The shelf is the measured service: the least that a shop's catalogue does, as any team writes it.

It exists so that Hansa and its peers can be asked for exactly the same two operations. It declares
what a real service declares, and uses nothing that one would not. What must never happen here: a
shortcut around the kernel that makes a figure better.
"""

from hansa.kernel.service import Service

shelf = Service("bench", owner="benchmarks")
"""The service; its handlers are in `benchmarks.shelf.api`."""
