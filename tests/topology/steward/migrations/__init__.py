"""Revisions of what the steward keeps."""
