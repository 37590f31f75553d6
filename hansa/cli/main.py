# pyright: reportPrivateUsage=false
"""Main: the commands and their options. What they do is in the module of their name."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import hansa
from hansa.assembly import Place
from hansa.cli import keeping_arguments, search_arguments, traces_arguments
from hansa.cli.values import lazily, private, whole
from hansa.kernel.revisions import RevisionsInvalid
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.project import ProjectInvalid

PORT: Final = 8400
STOCK_MAX: Final = 1_000_000_000
KILLS_MAX: Final = 1_000_000
PROCESSES_MAX: Final = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit status: 0, 1 for a failure, 2 for a wrong command."""
    try:
        return _run(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = options.run
    from hansa.cli.serving import failed

    try:
        with private() if hasattr(options, "folder") else nullcontext():
            status = run(options)
        sys.stdout.flush()
        return status
    except (ProjectInvalid, MasterKeyInvalid, RevisionsInvalid) as invalid:
        return failed(str(invalid))
    except (
        BrokenPipeError
    ):  # who read this has enough, as `| head`; at the end Python flushes again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def place_of(options: argparse.Namespace) -> Place:
    """Return where the cell of a command line is."""
    return Place(Path(options.folder), options.database or "", options.owner_database or "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hansa", description="A backend platform: small services, and a shop written on them."
    )
    parser.add_argument("--version", action="version", version=f"hansa {hansa.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    where = _where()
    listen = argparse.ArgumentParser(add_help=False)
    listen.add_argument("--host", default="127.0.0.1", help="address to listen on")
    listen.add_argument("--port", type=whole(1, 65_535), default=PORT, help=f"(default: {PORT})")
    _writing(commands)
    _serving(commands, where, listen)
    _working(commands, where)
    return parser


def _writing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    one = commands.add_parser("new", help="write a new service, or its next revision")
    kinds = one.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = kinds.add_parser("service", help="a whole small service with tests, to be changed")
    kind.add_argument("name", help="2 to 31 lower-case letters and digits, such as loyalty")
    kind.set_defaults(run=lazily("new", "service"))
    kind = kinds.add_parser("revision", help="the next revision, drafted from the tables")
    kind.add_argument("service")
    kind.add_argument("name", help="what it does, such as add_expiry")
    kind.set_defaults(run=lazily("new", "revision"))
    one = commands.add_parser("describe", help="print the API or the events as a document")
    one.add_argument("what", choices=("openapi", "asyncapi"))
    one.set_defaults(run=lazily("describe"))
    one = commands.add_parser(
        "check", help="refuse what breaks the last release: its API, its events, its due work"
    )
    one.add_argument("--accept", action="store_true", help="record this release in contracts.lock")
    one.add_argument(
        "--forget", action="append", default=[], metavar="NAME",
        help="count it as never released: nobody calls it and no row of it is left",
    )  # fmt: skip
    one.set_defaults(run=lazily("check"))


def _where(unsaid: object = None) -> argparse.ArgumentParser:
    """Return the options that say where a cell is; `unsaid` is their default, if not None."""

    def default(variable: str, otherwise: str | None) -> object:
        return os.environ.get(variable, otherwise) if unsaid is None else unsaid

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--folder", default=default("HANSA_FOLDER", ".hansa"),
        help="where SQLite's file and the keys are (default: .hansa)",
    )  # fmt: skip
    where.add_argument(
        "--database", default=default("HANSA_DATABASE", None),
        help="postgresql://... of the application's role, in place of SQLite",
    )  # fmt: skip
    where.add_argument(
        "--owner-database", default=default("HANSA_OWNER_DATABASE", None),
        help="postgresql://... of the role that owns the tables, to migrate",
    )  # fmt: skip
    return where


def _remote(unsaid: object = None) -> argparse.ArgumentParser:
    """Return the options that name a running server; `unsaid` as in `_where`."""

    def default(variable: str) -> object:
        return os.environ.get(variable) if unsaid is None else unsaid

    remote = argparse.ArgumentParser(add_help=False)
    remote.add_argument(
        "--url", default=default("HANSA_URL"),
        help="a running server to work through; without it the cell is opened here",
    )  # fmt: skip
    remote.add_argument("--key", default=default("HANSA_KEY"), help="the API key for --url")
    return remote


def _serving(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    where: argparse.ArgumentParser,
    listen: argparse.ArgumentParser,
) -> None:
    one = commands.add_parser(
        "up", parents=[where, listen], help="serve, with a demo shop on the first run"
    )
    one.add_argument("--reload", action="store_true", help="start again when a file is saved")
    one.add_argument(
        "--split", action="store_true", help="run each service in a process of its own"
    )
    one.set_defaults(run=lazily("up"), testpay=True, placement="", services="", pages=True,
                     storefront=True)  # fmt: skip
    one = commands.add_parser("serve", parents=[where, listen], help="serve what is there")
    one.add_argument(
        "--testpay", action="store_true", help="have the test provider take the payments"
    )
    one.set_defaults(run=lazily("serving"))
    one.add_argument(
        "--placement", default="", metavar="FILE",
        help="which process serves which service, where they are several",
    )  # fmt: skip
    one.add_argument(
        "--services", default="", metavar="NAMES",
        help="the services of this process, as one entry of the placement has them: sites,mail",
    )  # fmt: skip
    one.add_argument(
        "--pages",
        action="store_true",
        help="serve the engineers' pages on /hansa too; they ask for a key of the platform",
    )
    one.add_argument(
        "--storefront", action="store_true",
        help="serve the shops of the sites on /shop too, to everybody",
    )  # fmt: skip
    one.add_argument(
        "--process", default="", metavar="NAME",
        help="the name of that entry, where several cells serve the same",
    )  # fmt: skip
    one.add_argument(
        "--linger", type=whole(0, 600), default=0, metavar="SECONDS",
        help="serve on for so long after SIGTERM, until balancers have seen /readyz say no",
    )  # fmt: skip
    one.add_argument(
        "--while-stdin", action="store_true",
        help="stop when standard input ends too, as with the process that started this one",
    )  # fmt: skip
    one = commands.add_parser("migrate", parents=[where], help="bring the schema up to date")
    one.add_argument("--plan", action="store_true", help="show what would be applied")
    one.add_argument(
        "--until", choices=("expand", "contract"), default="contract",
        help="stop before what takes something away",
    )  # fmt: skip
    one.set_defaults(run=lazily("migrate"))


def _working(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    where: argparse.ArgumentParser,
) -> None:
    from hansa.cli import simulate, torture

    remote = _remote()
    # Behind a verb the options are taken too; what was said before it stands unless said again.
    later = [_where(argparse.SUPPRESS)]
    one = commands.add_parser(
        "import", parents=[where, remote], help="import products, one JSON object a line"
    )
    one.add_argument("file", help="an .ndjson or .ndjson.gz file")
    one.add_argument("--site", default="", help="id or host of the site (default: the only one)")
    one.add_argument(
        "--stock", type=whole(0, STOCK_MAX), default=0,
        help="received of each product that says none",
    )  # fmt: skip
    one.add_argument(
        "--faults", default="", metavar="FILE",
        help="write refused lines into this file: number, reason, and the line, to be put right and"
        " imported from there",
    )  # fmt: skip
    one.add_argument(
        "--again", action="store_true", help="take lines that were refused before once more"
    )
    one.set_defaults(run=lazily("importing"))
    one = commands.add_parser(
        "sites", parents=[where, remote], help="list and make sites and keys",
        description="Works in a cell that nobody has open, or with --url through a running server:"
        " its key is then one of the platform. `hansa up` leaves one in operator.key of its folder;"
        " elsewhere `hansa sites key platform '*'` makes the first one, while nobody serves.",
    )  # fmt: skip
    _sites(one, later)
    one.set_defaults(run=lazily("sites"))
    one = commands.add_parser(
        "secrets", parents=[where], help="rotate the master key, or give it up"
    )
    verbs = one.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser(
        "rotate", parents=later, help="seal everything with a new master key; once more goes on"
    )
    show.add_argument(
        "--settle-s", type=float, default=None,
        help="how long to wait for other processes (default: 32 with PostgreSQL, 0 with SQLite)",
    )  # fmt: skip
    show = verbs.add_parser(
        "abandon", parents=later,
        help="go on without a master key that is lost: what it sealed stays closed for good",
    )  # fmt: skip
    show.add_argument("--yes", action="store_true", help="do not ask")
    verbs.add_parser("new-key", help="print a fresh master key, for HANSA_MASTER_KEY")
    one.set_defaults(run=lazily("secrets"))
    one = commands.add_parser("log", parents=[where], help="the log, deliveries and due work")
    verbs = one.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("events", parents=later, help="the last events")
    show.add_argument("--site", default="")
    show.add_argument(
        "--type", action="append", default=[], metavar="TYPE",
        help="only events of a type, commerce.order_placed, or of a service, commerce.*; may be"
        " given several times",
    )  # fmt: skip
    show.add_argument("--limit", type=whole(1, 10_000), default=20)
    verbs.add_parser(
        "deliveries", parents=later, help="events that wait or are parked, with their errors"
    )
    verbs.add_parser(
        "subscribers", parents=later,
        help="how far each has read; one not seen for 30 days holds no event back",
    )  # fmt: skip
    verbs.add_parser("due", parents=later, help="due work that waits or is parked")
    for verb in ("skip", "replay"):
        hand = verbs.add_parser(verb, parents=later, help=f"{verb} an event at a subscriber")
        hand.add_argument("site")
        hand.add_argument("subscriber")
        hand.add_argument("event")
    hand = verbs.add_parser("replay-due", parents=later, help="have parked due work tried again")
    hand.add_argument("site")
    hand.add_argument("id")
    one.set_defaults(run=lazily("log"))
    traces_arguments.arguments(commands, where, later)
    remotely = [*later, _remote(argparse.SUPPRESS)]
    search_arguments.arguments(commands, [where, remote], remotely)
    keeping_arguments.arguments(commands, where)
    one = commands.add_parser("torture", help="kill it at random under load, and check everything")
    torture.arguments(one)
    one.set_defaults(run=lazily("torture"))
    one = commands.add_parser(
        "simulate", help="run many nodes from a seed under every mishap, and check everything"
    )
    simulate.arguments(one)
    one.set_defaults(run=lazily("simulate"))


def _json() -> argparse.ArgumentParser:
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="the whole answer, for scripts")
    return told


def _sites(one: argparse.ArgumentParser, parents: list[argparse.ArgumentParser]) -> None:
    """Add the verbs of `hansa sites`."""
    verbs = one.add_subparsers(dest="verb", required=True, metavar="VERB")
    whole_cell, parents = parents, [*parents, _remote(argparse.SUPPRESS), _json()]
    verbs.add_parser("list", parents=parents, help="all sites")
    new = verbs.add_parser("create", parents=parents, help="make a site")
    new.add_argument("name")
    for name, default in (("locale", "en"), ("currency", "EUR"), ("zone", "UTC")):
        new.add_argument(f"--{name}", default=default, help=f"(default: {default})")
    new.add_argument("--host", action="append", default=[], help="a host name of the site")
    new.add_argument(
        "--test-clock", default="", metavar="INSTANT",
        help="give the site a clock of its own that stands at an instant such as"
        " 2027-01-01T00:00:00Z and moves only with `hansa sites advance`: a year passes in seconds",
    )  # fmt: skip
    key = verbs.add_parser("key", parents=parents, help="make a key; its text is shown once")
    key.add_argument("site", help="the site's id or host, or platform")
    key.add_argument("permissions", nargs="+", help="such as commerce.*")
    key.add_argument("--name", default="key", help="what it is for")
    key.add_argument("--expires", default="", metavar="INSTANT", help="until when it is good")
    keys = verbs.add_parser("keys", parents=parents, help="all keys of a site, without their texts")
    keys.add_argument("site", help="the site's id or host, or platform")
    revoke = verbs.add_parser("revoke", parents=parents, help="make a key no good from now on")
    revoke.add_argument("site", help="the site's id or host, or platform")
    revoke.add_argument("id", help="the key's id, as `hansa sites keys` shows it")
    keeping_arguments.site_arguments(verbs, whole_cell)
    shown = verbs.add_parser("settings", parents=parents, help="all settings of a site")
    shown.add_argument("site", help="the site's id or host")
    value = verbs.add_parser("set", parents=parents, help="set a setting of a site")
    value.add_argument("site", help="the site's id or host")
    value.add_argument("setting", help="such as sites.limits")
    value.add_argument("value", help='JSON, such as \'{"site": {"per_s": 50, "burst": 100}}\'')
    reset = verbs.add_parser("reset", parents=parents, help="have the default hold again")
    reset.add_argument("site", help="the site's id or host")
    reset.add_argument("setting")
    clock = verbs.add_parser("advance", parents=parents, help="move a test clock")
    clock.add_argument("site")
    clock.add_argument("to", help="an instant such as 2027-01-01T00:00:00Z")


if __name__ == "__main__":
    sys.exit(main())
