"""What tests stand on: real engines in temporary folders, a disk that fails on order, clocks.

What must never happen here: a stand-in for something that Hansa owns.
"""
