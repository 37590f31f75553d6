"""Revisions of what the porter keeps."""
