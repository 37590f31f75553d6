"""What others may use of commerce: its operations by noun, their types, and its events."""

from hansa.business.commerce.api.carts import (
    Cart,
    CartChange,
    Line,
    NewCart,
    change_cart,
    create_cart,
    get_cart,
)
from hansa.business.commerce.api.checkout import Complete, complete
from hansa.business.commerce.api.finding import product_document
from hansa.business.commerce.api.imports import (
    Import,
    ImportBatch,
    get_import,
    import_products,
)
from hansa.business.commerce.api.orders import (
    NewRefund,
    Order,
    cancel,
    get_order,
    get_order_events,
    list_orders,
    refund,
)
from hansa.business.commerce.api.payments import Payment, list_payments, receive_webhook
from hansa.business.commerce.api.products import (
    add_variants,
    change_product,
    change_variant,
    create_product,
    find_variant,
    get_product,
    list_products,
)
from hansa.business.commerce.api.stock import (
    Availability,
    Demand,
    Level,
    Move,
    get_availability,
    get_stock,
    move_stock,
    reserve,
)
from hansa.business.commerce.catalogue import (
    MoreVariants,
    NewProduct,
    NewVariant,
    Product,
    ProductChange,
    ProductWithVariants,
    Variant,
    VariantChange,
)
from hansa.business.commerce.events import (
    OrderCancelled,
    OrderPlaced,
    OrderRefunded,
    PaymentOrphaned,
    PaymentStuck,
    ProductChanged,
    ProductCreated,
    StockMoved,
)

__all__ = [
    "Availability", "Cart", "CartChange", "Complete", "Demand", "Import", "ImportBatch", "Level",
    "Line", "MoreVariants", "Move", "NewCart", "NewProduct", "NewRefund", "NewVariant", "Order",
    "OrderCancelled", "OrderPlaced", "OrderRefunded", "Payment", "PaymentOrphaned", "PaymentStuck",
    "Product", "ProductChange", "ProductChanged", "ProductCreated", "ProductWithVariants",
    "StockMoved", "Variant", "VariantChange", "add_variants", "cancel", "change_cart",
    "change_product", "change_variant", "complete", "create_cart", "create_product", "find_variant",
    "get_availability", "get_cart", "get_import", "get_order", "get_order_events", "get_product",
    "get_stock", "import_products", "list_orders", "list_payments", "list_products", "move_stock",
    "product_document", "receive_webhook", "refund", "reserve",
]  # fmt: skip
