# pyright: reportPrivateUsage=false
"""What `hansa traces` takes, apart from what does it, so that other commands import less."""

import argparse
from typing import Final

from hansa.cli.values import ago, lazily, milliseconds, whole
from hansa.kernel.observe.spans import KINDS

LEVELS: Final = ("info", "warning", "error")


def arguments(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    where: argparse.ArgumentParser,
    later: list[argparse.ArgumentParser],
) -> None:
    """Add `hansa traces` with its verbs."""
    one = commands.add_parser(
        "traces", parents=[where], help="what was kept of requests, deliveries and due work"
    )
    verbs = one.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("list", parents=later, help="the last ones that were kept")
    verb.add_argument("--kind", choices=KINDS, default="", help="only these")
    verb.add_argument("--service", default="")
    verb.add_argument("--name", default="", help="the operation, such as commerce.get_product")
    verb.add_argument("--site", default="")
    verb.add_argument("--failed", action="store_true", help="only those that failed")
    verb.add_argument("--slower-ms", type=milliseconds, default=0.0, metavar="MS")
    verb.add_argument("--since", type=ago, default=0.0, metavar="AGO", help="such as 15m, 2h or 3d")
    verb.add_argument("--limit", type=whole(1, 500), default=20)
    verb = verbs.add_parser(
        "show", parents=later, help="one as a waterfall, with statements and payloads"
    )
    verb.add_argument("trace", help="as `list` tells it, or an answer's Hansa-Request-Id")
    verb.add_argument("--full", action="store_true", help="do not cut long lines")
    verb = verbs.add_parser("operations", parents=later, help="how often and how long each ran")
    verb.add_argument("--kind", choices=KINDS, default="request")
    verb = verbs.add_parser("statements", parents=later, help="what took the database the longest")
    verb.add_argument("--limit", type=whole(1, 500), default=20)
    verbs.add_parser("flow", parents=later, help="which services call and tell which")
    verb = verbs.add_parser("lines", parents=later, help="the last lines of the log")
    verb.add_argument("--level", choices=LEVELS, default="info", help="at least")
    verb.add_argument("--limit", type=whole(1, 500), default=50)
    one.set_defaults(run=lazily("traces"))
