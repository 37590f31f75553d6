"""Buckets: what an operator names one of an S3-compatible server by, and why one cannot be used."""

import re
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_ENDPOINT: Final = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[!-~]*)?"
)
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,200})")
_ASKED: Final = re.compile(r"Error performing [A-Z]+ ([^\s?]+)")
_DEEPEST: Final = re.compile(r'(?:message|error): "([^"]{1,200})"')
_OWN_KEYS: Final = "http://169.254."
"""Where a machine of a cloud is asked for keys, when the environment has none."""
_SAID_MAX: Final = 200


def parse_bucket(url: str) -> tuple[str, dict[str, Any]]:
    """Return the bucket of ``s3://bucket/prefix?region=eu-central-1``, with `endpoint=` for a
    server other than Amazon's, and the options of obstore's S3Store. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.hostname or ""):
        raise ValueError("a bucket is s3://bucket/prefix?region=...&endpoint=https://...")
    options: dict[str, Any] = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if options.keys() - {"region", "endpoint"}:
        raise ValueError("a bucket has a region and an endpoint, and nothing else")
    if not _REGION.fullmatch(options.get("region", "none")):
        raise ValueError("the region of a bucket is a name such as eu-central-1")
    if not _ENDPOINT.fullmatch(options.get("endpoint", "https://none")):
        raise ValueError("the endpoint of a bucket is http://host:port or https://host:port")
    prefix = parts.path.strip("/")
    if prefix:
        options["prefix"] = prefix
    if str(options.get("endpoint", "")).startswith("http://"):
        options["client"] = {"allow_http": True}
    return str(parts.hostname), options


def cause(error: Exception) -> str:
    """Return what an error of obstore has to tell an operator, in one line: the code and message of
    the server, or who could not be asked and why."""
    text, _, insides = str(error).partition("\n\nDebug source:")
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        return f"{code[1]}: {' '.join(message[1].split())}" if message else code[1]
    asked = _ASKED.search(text)
    if asked and asked[1].startswith(_OWN_KEYS):
        return (
            "no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (this machine's cloud was"
            " asked, and gave none)"
        )
    deep = _DEEPEST.findall(insides)
    said = deep[-1] if deep else text.rpartition(" - ")[2].partition("\n")[0]
    return f"{asked[1]}: {said[:_SAID_MAX]}" if asked else said[:_SAID_MAX]
