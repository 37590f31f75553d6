"""Parcels are taken, lane by lane, and numbered. For tests: release 2 of a service."""

from hansa.kernel.service import Service

porter = Service("porter", owner="tests")
