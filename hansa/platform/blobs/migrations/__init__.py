"""Revisions of what is kept of sites."""
