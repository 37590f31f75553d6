"""Fusing: several ranked lists as one, by reciprocal rank fusion. Pure.

Source: G. V. Cormack, C. L. A. Clarke, S. Buettcher, "Reciprocal rank fusion outperforms Condorcet
and individual rank learning methods", SIGIR 2009: an element counts 1 / (60 + its rank) for each
list that it is in. Lists of different collections have no element in common, so the ranks alone
decide.
"""

from collections.abc import Sequence


def fused(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (list, place) of all that stands in lists of these lengths, the best first; of equals
    that of the earlier list."""
    every = [(which, place) for which, length in enumerate(lengths) for place in range(length)]
    return sorted(every, key=lambda one: (one[1], one[0]))
