"""Parcels are counted as they are heard of. For tests: release 2 of a service that hears another.

What must never happen: a parcel that is counted twice, or before the one in front of it.
"""

from hansa.kernel.service import Service

tally = Service("tally", owner="tests")
