"""The revisions of the shelf's tables."""
