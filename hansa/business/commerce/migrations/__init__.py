"""The revisions of the schema of commerce."""
