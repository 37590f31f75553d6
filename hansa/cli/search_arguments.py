# pyright: reportPrivateUsage=false
"""What `hansa search` takes, apart from what does it, so that other commands import less."""

import argparse

from hansa.cli.values import lazily


def arguments(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    parents: list[argparse.ArgumentParser],
    later: list[argparse.ArgumentParser],
) -> None:
    """Add `hansa search` with its verbs."""
    one = commands.add_parser(
        "search", parents=parents, help="collections, and how well they are searched",
        description="Works in a cell that nobody has open, or with --url through a running server,"
        " with a key of the site or of the platform.",
    )  # fmt: skip
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--site", default="", help="id or host of the site (default: the only one)")
    which.add_argument("--json", action="store_true", help="the whole answer, for scripts")
    parents = [*later, which]
    verbs = one.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser(
        "collections", parents=parents, help="all of a site, with how far their indexes are"
    )
    verb = verbs.add_parser(
        "rebuild", parents=parents,
        help="make the index anew from the documents, beside the one that is searched",
    )  # fmt: skip
    verb.add_argument("collection")
    verb = verbs.add_parser(
        "evaluate", parents=parents, help="how good what is found is, by what people judged"
    )
    verb.add_argument("collection")
    verb.add_argument(
        "judgements", metavar="JUDGEMENTS.csv",
        help="a header that names query, product_id (or document, or id) and grade, from 0; then a"
        " judgement a line, in columns apart by a comma, a semicolon or a tab",
    )  # fmt: skip
    verb.add_argument(
        "--by", default="", metavar="FIELD",
        help="the field by which the judgements name documents (default: id), as skus",
    )  # fmt: skip
    verb.add_argument("--save", default="", metavar="FILE", help="keep what was found, as JSON")
    verb.add_argument(
        "--against",
        default="",
        metavar="FILE",
        help="tell what changed since it was saved, by the queries that both have",
    )
    verb.add_argument(
        "--without-rules", action="store_true", help="the ranking alone, without pins and boosts"
    )
    one.set_defaults(run=lazily("search"))
