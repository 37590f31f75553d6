"""Keeping: copies of a cell, the shipping of its changes, and one site taken out as a unit.

Rows that exist once do not exist: a disk dies, a hand slips, a site moves. What must never happen
here: a copy that is taken for whole and is not, a copy of two different instants, a restore over
rows that somebody still uses, or a site of which something is left behind.
"""
