"""What a declared table is on both engines, and which declarations are refused."""

from typing import Any

import pytest
from sqlalchemy import MetaData, Table
from sqlalchemy.schema import CreateTable

from hansa.kernel.columns import (
    Part,
    binary,
    boolean,
    build_table,
    completed,
    date,
    enum,
    in_order,
    instant,
    integer,
    is_declared,
    json,
    money,
    real,
    text,
)  # fmt: skip
from hansa.kernel.scoping import dialect_of
from hansa.kernel.service import Service
from hansa.kernel.storage import Dialect


def table(
    *parts: Part, name: str = "things", metadata: MetaData | None = None, **options: Any
) -> Table:
    return build_table(metadata or MetaData(), "shop", name, parts, **options)


def made_of(declared: Table) -> Table:
    """The table as it is made in a database, beside those that it refers to."""
    into = MetaData()
    completed({declared, *(one.column.table for one in declared.foreign_keys)}, into)
    return into.tables[declared.name]


def sql(declared: Table, dialect: Dialect = "postgresql") -> str:
    making = CreateTable(made_of(declared)).compile(dialect=dialect_of(dialect))
    return " ".join(str(making).split())


def test_every_key_of_a_sites_table_begins_with_the_site() -> None:
    metadata = MetaData()
    first = table(text("handle", unique="site"), integer("n", index=True), metadata=metadata)
    second = table(
        text("thing"), text("other"), name="parts", metadata=metadata,
        unique=[("thing", "other")], index=[("other",)], foreign=[("thing", first)],
    )  # fmt: skip
    assert "PRIMARY KEY (site, id)" in sql(first)
    assert "shop_things_handle_unique UNIQUE (site, handle)" in sql(first)
    assert "UNIQUE (site, thing, other)" in sql(second)
    assert "FOREIGN KEY(site, thing) REFERENCES shop_things (site, id)" in sql(second)
    for made in (first, second):
        indexes = made_of(made).indexes
        assert {next(iter(index.columns)).name for index in indexes} == {"site"}
        assert list(made.columns.keys())[:2] == ["site", "id"]
    assert is_declared(first) and not is_declared(Table("shop_x", metadata))
    assert not is_declared(Table("shop_y", metadata, info=first.info))


def test_a_table_is_declared_once_in_a_service_and_by_any_other_of_its_name() -> None:
    first, second = (Service("shop", owner="shop") for _ in range(2))
    things = first.table("things", text("handle"))
    parts = first.table("parts", text("thing"), foreign=[("thing", things)])
    with pytest.raises(ValueError, match="shop has a table things already"):
        first.table("things", text("handle"))
    assert second.table("things", text("handle")) is not things
    assert in_order([parts, things]) == [things, parts]


def test_a_platform_table_has_no_site() -> None:
    made = table(text("code", primary=True), integer("n", index=True), scope="platform")
    assert "site" not in made.c and "id" not in made.c
    assert "PRIMARY KEY (code)" in sql(made)
    assert made.info["key"] == ("code",)


def test_a_sites_table_may_refer_to_the_platforms_but_not_the_reverse() -> None:
    metadata = MetaData()
    regions = table(text("code", primary=True), name="regions", scope="platform", metadata=metadata)
    things = table(text("region"), metadata=metadata, foreign=[("region", regions)])
    assert "FOREIGN KEY(region) REFERENCES shop_regions (code)" in sql(things)
    with pytest.raises(ValueError, match="cannot refer to the rows of a site"):
        table(
            text("thing"), name="more", scope="platform", metadata=metadata,
            foreign=[("thing", things)],
        )  # fmt: skip


def test_every_kind_has_its_form_on_both_engines() -> None:
    made = table(
        text("a"), integer("b"), real("c"), boolean("d"), money("e"), json("f"), instant("g"),
        date("h"), binary("i"), enum("j", ("on", "off")), text("k", nullable=True),
    )  # fmt: skip
    on_postgres = [
        "a TEXT NOT NULL", "b BIGINT NOT NULL", "c DOUBLE PRECISION NOT NULL", "d BOOLEAN NOT NULL",
        "e_minor BIGINT NOT NULL, e_currency TEXT NOT NULL", "f TEXT NOT NULL", "g BIGINT NOT NULL",
        "h TEXT NOT NULL", "i BYTEA NOT NULL", "j TEXT NOT NULL", "k TEXT,",
        "CHECK (j IN ('on', 'off'))",
    ]  # fmt: skip
    for form in on_postgres:
        assert form in sql(made)
    assert "i BLOB NOT NULL" in sql(made, "sqlite")


def test_defaults_and_checks_are_portable() -> None:
    made = table(
        boolean("live", default=True), integer("n", default=5, check=lambda n: n >= 0),
        text("word", default="it's"), real("share", default=0.5), integer("most"),
        checks=[lambda c: c.n <= c.most, "most < 1000"],
    )  # fmt: skip
    for dialect, true in (("postgresql", "true"), ("sqlite", "1")):
        text_of = sql(made, "sqlite" if dialect == "sqlite" else "postgresql")
        assert f"live BOOLEAN DEFAULT {true} NOT NULL" in text_of
        assert "n BIGINT DEFAULT 5 NOT NULL" in text_of
        assert "word TEXT DEFAULT 'it''s' NOT NULL" in text_of
        assert "DEFAULT 0.5" in text_of or "DEFAULT (0.5)" in text_of
        for check in ("CHECK (n >= 0)", "CHECK (n <= most)", "CHECK (most < 1000)"):
            assert check in text_of


def test_nullable_money_is_null_as_a_whole() -> None:
    made = table(money("price", nullable=True))
    assert "CHECK ((price_minor IS NULL) = (price_currency IS NULL))" in sql(made)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: table(text("site")), "site twice"),
        (lambda: table(text("a"), text("a")), "a twice"),
        (lambda: table(money("a"), integer("a_minor")), "a_minor twice"),
        (lambda: text("Bad name"), "lower-case"),
        (lambda: text("a", unique="world"), "only kind of uniqueness"),
        (lambda: text("a", primary=True, nullable=True), "cannot be nullable"),
        (lambda: integer("a", default="1"), "no constant of this kind"),
        (lambda: boolean("a", default=1), "no constant of this kind"),
        (lambda: enum("a", "on off"), "list of texts"),
        (lambda: table(text("a"), index=[("b",)]), "not 'b'"),
        (lambda: table(text("a"), unique=[("site", "a")]), "not 'site'"),
        (lambda: table(text("a"), primary=("b",)), "not 'b'"),
    ],
)
def test_what_is_no_declaration_is_refused(declare: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        declare()


def test_no_reference_leaves_the_service() -> None:
    metadata = MetaData()
    foreign = build_table(metadata, "crm", "people", [text("name")])
    with pytest.raises(ValueError, match="another service's"):
        table(text("person"), metadata=metadata, foreign=[("person", foreign)])


def test_a_reference_needs_the_whole_key() -> None:
    metadata = MetaData()
    pairs = table(text("a", primary=True), text("b", primary=True), name="pairs", metadata=metadata)
    made = table(text("a"), text("b"), metadata=metadata, foreign=[(("a", "b"), pairs)])
    assert "FOREIGN KEY(site, a, b) REFERENCES shop_pairs (site, a, b)" in sql(made)
    with pytest.raises(ValueError, match="the key of shop_pairs is site, a, b"):
        table(text("a"), name="more", metadata=metadata, foreign=[("a", pairs)])
