"""Search finds what a site has: one API for every product, without anybody knowing an engine.

The documents in its tables are the truth; an index is a projection of them that may be thrown away
at any time, one per collection of a site. It is owned by the platform team.

What must never happen here:
- a document of another site, or one that a key's filter excludes, in an answer, a count or a score;
- a document that was taken and is not found once the index has caught up, whatever crashed where;
- a search that fails, or finds less, because an index is being made anew;
- an answer that depends on how often a process was killed.
"""

from hansa.kernel.service import Service

search = Service("search", owner="platform")
"""The service; its handlers are in `hansa.platform.search.api`."""
