"""The engine: tantivy indexes on disk, one per collection of a site, and nothing of tantivy beyond.

An index is made of documents alone and may be deleted at any time: whoever owns the documents makes
it anew. One process opens it.

What must never happen here:
- a query put together from a text that somebody else wrote;
- an answer that mixes two commits, or that depends on which segments the documents are in;
- a checkpoint that is ahead of what the index has, whatever was killed where;
- a damaged or outdated index that answers: it is `IndexUnusable` instead.
"""
