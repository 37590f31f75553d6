"""Search."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Search."""
    op.create_table(
        "search_collections",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("curation", sa.Text(), nullable=False),
        sa.Column("open_filter", sa.Text(), nullable=True),
        sa.Column("projection", sa.Text(), nullable=False),
        sa.Column("projection_version", sa.BigInteger(), nullable=False),
        sa.Column("is_filled", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_change", sa.BigInteger(), nullable=False),
        sa.Column("forgotten_change", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'removed')", name="search_collections_state_check"),
        sa.PrimaryKeyConstraint("site", "id", name="search_collections_key"),
        sa.UniqueConstraint("site", "name", name="search_collections_name_unique"),
    )
    op.create_table(
        "search_aliases",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "collection_id"],
            ["search_collections.site", "search_collections.id"],
            name="search_aliases_collection_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "name", name="search_aliases_key"),
    )
    op.create_table(
        "search_clicks",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("q", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("visitor", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('click', 'convert')", name="search_clicks_kind_check"),
        sa.ForeignKeyConstraint(
            ["site", "collection_id"],
            ["search_collections.site", "search_collections.id"],
            name="search_clicks_collection_id_foreign",
        ),
        sa.PrimaryKeyConstraint(
            "site", "collection_id", "q", "document_id", "kind", "visitor", name="search_clicks_key"
        ),
    )
    op.create_index(
        "search_clicks_collection_id_at_index",
        "search_clicks",
        ["site", "collection_id", "at"],
        unique=False,
    )
    op.create_table(
        "search_documents",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("popularity", sa.Double(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "collection_id"],
            ["search_collections.site", "search_collections.id"],
            name="search_documents_collection_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "collection_id", "id", name="search_documents_key"),
    )
    op.create_index(
        "search_documents_collection_id_change_index",
        "search_documents",
        ["site", "collection_id", "change"],
        unique=False,
    )
    op.create_table(
        "search_learned",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("q", sa.Text(), nullable=False),
        sa.Column("preferences", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "collection_id"],
            ["search_collections.site", "search_collections.id"],
            name="search_learned_collection_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "collection_id", "q", name="search_learned_key"),
    )
    op.create_table(
        "search_queries",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("q", sa.Text(), nullable=False),
        sa.Column("searches", sa.BigInteger(), nullable=False),
        sa.Column("without", sa.BigInteger(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("askers", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "collection_id"],
            ["search_collections.site", "search_collections.id"],
            name="search_queries_collection_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "collection_id", "day", "q", name="search_queries_key"),
    )
    op.create_index(
        "search_queries_collection_id_day_searches_index",
        "search_queries",
        ["site", "collection_id", "day", "searches"],
        unique=False,
    )
