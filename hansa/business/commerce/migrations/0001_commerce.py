"""Commerce."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Commerce."""
    op.create_table(
        "commerce_carts",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'completing', 'completed')", name="commerce_carts_state_check"
        ),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_carts_key"),
    )
    op.create_index(
        "commerce_carts_state_touched_at_index",
        "commerce_carts",
        ["site", "state", "touched_at"],
        unique=False,
    )
    op.create_table(
        "commerce_counters",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "name", name="commerce_counters_key"),
    )
    op.create_table(
        "commerce_imports",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("next_line", sa.BigInteger(), nullable=False),
        sa.Column("products", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "source", name="commerce_imports_key"),
    )
    op.create_table(
        "commerce_orders",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("cart_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment", sa.Text(), nullable=False),
        sa.Column("fulfilment", sa.Text(), nullable=False),
        sa.Column("priced", sa.Text(), nullable=False),
        sa.Column("paid_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunding_minor", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "fulfilment IN ('none', 'fulfilled')", name="commerce_orders_fulfilment_check"
        ),
        sa.CheckConstraint(
            "payment IN ('paid', 'part_refunded', 'refunded')", name="commerce_orders_payment_check"
        ),
        sa.CheckConstraint("state IN ('placed', 'cancelled')", name="commerce_orders_state_check"),
        sa.CheckConstraint(
            "refunded_minor + refunding_minor <= paid_minor", name="commerce_orders_check_0"
        ),
        sa.CheckConstraint("refunding_minor >= 0", name="commerce_orders_check_1"),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_orders_key"),
        sa.UniqueConstraint("site", "cart_id", name="commerce_orders_cart_id_unique"),
        sa.UniqueConstraint("site", "number", name="commerce_orders_number_unique"),
    )
    op.create_table(
        "commerce_payment_events",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_payment_events_key"),
    )
    op.create_table(
        "commerce_payments",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("cart_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("amount_currency", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('captured', 'declined', 'orphaned', 'voided', 'stuck')",
            name="commerce_payments_state_check",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_payments_key"),
    )
    op.create_index(
        "commerce_payments_cart_id_index", "commerce_payments", ["site", "cart_id"], unique=False
    )
    op.create_index(
        "commerce_payments_state_id_index",
        "commerce_payments",
        ["site", "state", "id"],
        unique=False,
    )
    op.create_table(
        "commerce_products",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('active', 'draft', 'archived')", name="commerce_products_status_check"
        ),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_products_key"),
        sa.UniqueConstraint("site", "handle", name="commerce_products_handle_unique"),
    )
    op.create_table(
        "commerce_sales",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "product_id", name="commerce_sales_key"),
    )
    op.create_table(
        "commerce_takings",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "day", "currency", name="commerce_takings_key"),
    )
    op.create_table(
        "commerce_order_events",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "order_id"],
            ["commerce_orders.site", "commerce_orders.id"],
            name="commerce_order_events_order_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "order_id", "seq", name="commerce_order_events_key"),
    )
    op.create_table(
        "commerce_variants",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("price_currency", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "product_id"],
            ["commerce_products.site", "commerce_products.id"],
            name="commerce_variants_product_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_variants_key"),
        sa.UniqueConstraint("site", "sku", name="commerce_variants_sku_unique"),
    )
    op.create_index(
        "commerce_variants_product_id_index",
        "commerce_variants",
        ["site", "product_id"],
        unique=False,
    )
    op.create_table(
        "commerce_reservations",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('held', 'claimed', 'released')", name="commerce_reservations_state_check"
        ),
        sa.ForeignKeyConstraint(
            ["site", "variant_id"],
            ["commerce_variants.site", "commerce_variants.id"],
            name="commerce_reservations_variant_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "ref", "variant_id", name="commerce_reservations_key"),
    )
    op.create_index(
        "commerce_reservations_variant_id_state_expires_at_index",
        "commerce_reservations",
        ["site", "variant_id", "state", "expires_at"],
        unique=False,
    )
    op.create_table(
        "commerce_stock",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved <= on_hand", name="commerce_stock_check_1"),
        sa.CheckConstraint("reserved >= 0", name="commerce_stock_check_0"),
        sa.ForeignKeyConstraint(
            ["site", "variant_id"],
            ["commerce_variants.site", "commerce_variants.id"],
            name="commerce_stock_variant_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "variant_id", name="commerce_stock_key"),
    )
    op.create_table(
        "commerce_stock_moves",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('receive', 'adjust', 'reserve', 'release', 'claim', 'return')",
            name="commerce_stock_moves_kind_check",
        ),
        sa.ForeignKeyConstraint(
            ["site", "variant_id"],
            ["commerce_variants.site", "commerce_variants.id"],
            name="commerce_stock_moves_variant_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="commerce_stock_moves_key"),
    )
    op.create_index(
        "commerce_stock_moves_variant_id_id_index",
        "commerce_stock_moves",
        ["site", "variant_id", "id"],
        unique=False,
    )
