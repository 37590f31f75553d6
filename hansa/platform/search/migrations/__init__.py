"""The revisions of search: forward only, in the order of their numbers."""
