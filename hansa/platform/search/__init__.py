"""Search finds what a site has: one API for every product, without anybody knowing an engine.

The documents in its tables are the truth; an index is a projection of them that may be thrown away
at any time, one per collection of a site. It is owned by the platform team.

What must never happen here:
- a document of another site in anything that is told, or one that a filter keeps from the caller in
  an answer, a count, a correction or a suggestion: only the order of hits, which goes by how
  frequent words are, depends on all documents of the collection, so its scores are not told;
- a document that was taken and is not found once the index has caught up, whatever crashed where;
- a search that fails, or finds less, because an index is being made anew;
- an answer that depends on how often a process was killed.
"""

from hansa.kernel.service import Service

search = Service("search", owner="platform")
"""The service; its handlers are in `hansa.platform.search.api`."""
