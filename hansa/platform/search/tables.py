"""What is kept of search: collections with their curation, documents, and what people searched."""

from hansa.kernel.columns import binary, boolean, date, enum, instant, integer, json, real, text
from hansa.platform.search import search as service

collections = service.table(
    "collections",
    text("name", unique="site"),  # of one that is being removed its id, so that the name is free
    enum("state", ("active", "removed")),
    json("schema"),
    json("curation"),
    text("open_filter", nullable=True),  # what visitors without a key see; null: nothing
    text("projection"),  # the declared projection that writes it; empty: the API does
    integer("projection_version"),
    boolean("is_filled"),  # whether all that its projection has was brought once
    integer("generation"),  # rises with each schema: an index is of one generation
    integer("revision"),  # rises with each change of what is said here
    integer("last_change"),  # the number of the newest change of a document
    integer("forgotten_change"),  # of the newest deletion that is no longer kept
    instant("created_at"),
    instant("changed_at"),
    prefix="coll",
)

aliases = service.table(
    "aliases",
    text("name", primary=True),
    text("collection_id"),
    foreign=[("collection_id", collections)],
)

documents = service.table(
    "documents",
    text("collection_id", primary=True),
    text("id", primary=True),
    integer("change"),
    binary("body", nullable=True),  # null: deleted, kept until every index must have heard of it
    real("popularity"),
    instant("at"),
    index=[("collection_id", "change")],
    foreign=[("collection_id", collections)],
)

queries = service.table(
    "queries",
    text("collection_id", primary=True),
    date("day", primary=True),
    text("q", primary=True),
    integer("searches"),
    integer("without"),  # of these, how many found nothing
    json("shown"),  # the documents of a first page of that day, in their order
    integer("askers"),  # how many different visitors asked for it that day, up to a few
    json("asked_by"),  # digests of these, until they are so many
    index=[("collection_id", "day", "searches")],
    foreign=[("collection_id", collections)],
)

clicks = service.table(
    "clicks",
    text("collection_id", primary=True),
    text("q", primary=True),
    text("document_id", primary=True),
    enum("kind", ("click", "convert"), primary=True),
    text("visitor", primary=True),  # a digest: one visitor counts once
    integer("place"),
    instant("at"),
    index=[("collection_id", "at")],
    foreign=[("collection_id", collections)],
)

learned = service.table(
    "learned",
    text("collection_id", primary=True),
    text("q", primary=True),
    json("preferences"),  # document: by how many places it may go up, or down
    foreign=[("collection_id", collections)],
)
