"""Revisions of what the tally keeps."""
