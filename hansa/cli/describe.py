"""Describe: the project's API or its events as a document, without a server."""

import argparse
import sys
from typing import Any

import msgspec

from hansa import project
from hansa.kernel.asyncapi import document as events
from hansa.kernel.http.endpoint import Endpoint, is_served
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.openapi import document as api


def run(options: argparse.Namespace) -> int:
    """Print the document."""
    services = project.services()
    if options.what == "asyncapi":
        described: Any = events(services)
    else:
        limits = Limits()
        operations = [one for service in services for one in service.operations.values()]
        described = api([Endpoint(one, limits) for one in operations if is_served(one)], services)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(described), indent=2).decode() + "\n")
    return 0
