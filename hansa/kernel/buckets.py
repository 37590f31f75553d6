"""Buckets: what an operator names one of an S3-compatible server by."""

from typing import Any
from urllib.parse import parse_qs, urlsplit


def parse_bucket(url: str) -> tuple[str, dict[str, Any]]:
    """Return the bucket of ``s3://bucket/prefix?region=eu-central-1``, with `endpoint=` for a
    server other than Amazon's, and the options of obstore's S3Store. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.hostname:
        raise ValueError("a bucket is s3://bucket/prefix?region=...&endpoint=https://...")
    options: dict[str, Any] = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if options.keys() - {"region", "endpoint"}:
        raise ValueError("a bucket has a region and an endpoint, and nothing else")
    prefix = parts.path.strip("/")
    if prefix:
        options["prefix"] = prefix
    if str(options.get("endpoint", "")).startswith("http://"):
        options["client"] = {"allow_http": True}
    return parts.hostname, options
