// Buys a product as a visitor, and reads the order as the shop's owner. Every value that goes in or
// comes out has a type that openapi-typescript made from /openapi.json: nothing is cast.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [, , baseUrl, key] = process.argv;
if (!baseUrl || !key) throw new Error("usage: buy.js URL KEY");
const shop = createClient<paths>({ baseUrl });
const owner = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const listed = await shop.GET("/commerce/products", { params: { query: { limit: 3 } } });
if (listed.error) throw new Error(listed.error.title);
const product = listed.data.items[0];
if (!product) throw new Error("nothing is on sale");

const shown = await shop.GET("/commerce/products/{handle_or_id}", {
  params: { path: { handle_or_id: product.handle } },
});
if (shown.error) throw new Error(shown.error.title);
const variant = shown.data.variants[0];
if (!variant) throw new Error("it has no variant");

const cart = await shop.POST("/commerce/carts", {
  body: { lines: [{ variant_id: variant.id, quantity: 2 }], email: "ann@example.org" },
});
if (cart.error) throw new Error(cart.error.detail ?? cart.error.title);

const placed = await shop.POST("/commerce/carts/{id}/complete", {
  params: { path: { id: cart.data.id }, header: { "Idempotency-Key": crypto.randomUUID() } },
  body: {
    version: cart.data.version,
    expected_total: { minor: 2 * variant.price.minor, currency: variant.price.currency },
    payment: "tok_ok",
  },
});
if (placed.error) throw new Error(placed.error.detail ?? placed.error.title);
if ("attempt" in placed.data) throw new Error("the outcome is still open");

const order = await owner.GET("/commerce/orders/{id}", {
  params: { path: { id: placed.data.id } },
});
if (order.error) throw new Error(order.error.title);

const denied = await shop.GET("/commerce/orders");
console.log(
  JSON.stringify({
    state: order.data.state,
    payment: order.data.payment,
    paid: order.data.paid_minor,
    price: variant.price.minor,
    denied: denied.error?.status,
  }),
);
