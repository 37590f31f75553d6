"""Simulation: many nodes of the real kernel in one process, on virtual time, under every mishap.

It exists to find what tests do not: the interleavings of crashes, slow disks, lost and doubled
messages, partitions and skewed clocks that no person thinks of. Everything that may differ from run
to run comes from a seed, so that a run that broke a promise can be had again, and read.

The technique is that of FoundationDB ("FoundationDB: A Distributed Unbundled Transactional Key
Value Store", SIGMOD 2021, section 4) and of TigerBeetle's simulator.

What must never happen here: a run that differs from another of the same seed, or a check that
cannot fail. Planted bugs (module plants) show that each one can.
"""
