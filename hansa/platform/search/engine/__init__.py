"""The engine: tantivy, and nothing of tantivy outside of here.

What must never happen here: a query put together from a text that somebody else wrote.
"""
