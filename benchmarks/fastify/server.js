// Fastify with better-sqlite3: schemas compiled for validation and for answers, statements prepared
// once, everything in line on the one thread, as the driver is meant to be used.
//
//     node server.js <file> <seed.json> <port>
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const Database = require("better-sqlite3");
const fastify = require("fastify");

const [file, seedFile, port] = process.argv.slice(2);
const KEY_FRESH_MS = 60_000;
const POLL_MS = 20;

const db = new Database(file);
for (const pragma of [
  "journal_mode = WAL", "synchronous = FULL", "cache_size = -65536", "mmap_size = 268435456",
  "temp_store = MEMORY", "wal_autocheckpoint = 8000", "busy_timeout = 10000",
]) db.pragma(pragma);
db.exec(`
  CREATE TABLE IF NOT EXISTS products (site TEXT NOT NULL, id TEXT NOT NULL, handle TEXT NOT NULL,
    title TEXT NOT NULL, description TEXT NOT NULL, price_minor INTEGER NOT NULL,
    price_currency TEXT NOT NULL, stock INTEGER NOT NULL, tags TEXT NOT NULL,
    attributes TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (site, id), UNIQUE (site, handle));
  CREATE TABLE IF NOT EXISTS api_keys (hash TEXT PRIMARY KEY, site TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS idempotency_keys (site TEXT NOT NULL, key TEXT NOT NULL,
    request TEXT NOT NULL, answer TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (site, key)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS outbox (position INTEGER PRIMARY KEY, site TEXT NOT NULL,
    type TEXT NOT NULL, data TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS cursors (subscriber TEXT PRIMARY KEY, position INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS tallies (site TEXT PRIMARY KEY, created INTEGER NOT NULL);
`);

const byHandle = db.prepare(`SELECT id, handle, title, description, price_minor, price_currency,
  stock, tags, attributes, created_at FROM products WHERE site = ? AND handle = ?`);
const bySecret = db.prepare("SELECT site FROM api_keys WHERE hash = ?").pluck();
const byKey = db.prepare("SELECT request, answer FROM idempotency_keys WHERE site = ? AND key = ?");
const addProduct = db.prepare("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
const addKey = db.prepare("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
const addEvent = db.prepare("INSERT INTO outbox (site, type, data) VALUES (?, 'product_created', ?)");
const positionNow = db.prepare("SELECT position FROM cursors WHERE subscriber = 'count_products'").pluck();
const after = db.prepare(
  "SELECT position, site, data FROM outbox WHERE position > ? ORDER BY position LIMIT ?");
const countOne = db.prepare("UPDATE tallies SET created = created + 1 WHERE site = ?");
const move = db.prepare("UPDATE cursors SET position = ? WHERE subscriber = 'count_products'");
const tallyOf = db.prepare("SELECT created FROM tallies WHERE site = ?").pluck();
const countOf = db.prepare("SELECT count(*) FROM products WHERE site = ?").pluck();

const insertSeed = db.transaction((seed) => {
  for (const site of seed.sites) {
    db.prepare("INSERT INTO api_keys VALUES (?, ?)").run(site.key_hash, site.id);
    db.prepare("INSERT INTO tallies VALUES (?, 0)").run(site.id);
  }
  db.prepare("INSERT INTO cursors VALUES ('count_products', 0)").run();
  for (const [site, products] of Object.entries(seed.products)) {
    for (const one of products) {
      addProduct.run(site, one.id, one.handle, one.title, one.description, one.price.minor,
        one.price.currency, one.stock, JSON.stringify(one.tags), JSON.stringify(one.attributes),
        one.created_at);
    }
  }
});
if (!db.prepare("SELECT count(*) FROM api_keys").pluck().get()) {
  insertSeed(JSON.parse(fs.readFileSync(seedFile, "utf8")));
}

// ---- the command and the subscriber

const create = db.transaction((site, key, digest, product, answer) => {
  if (key && !addKey.run(site, key, digest, answer, product.created_at).changes) {
    return byKey.get(site, key);
  }
  addProduct.run(site, product.id, product.handle, product.title, product.description,
    product.price.minor, product.price.currency, product.stock, JSON.stringify(product.tags),
    JSON.stringify(product.attributes), product.created_at);
  addEvent.run(site, JSON.stringify({ id: product.id, handle: product.handle }));
  return null;
});

const deliver = db.transaction((most) => {
  const events = after.all(positionNow.get(), most);
  for (const event of events) {
    JSON.parse(event.data);
    countOne.run(event.site);
  }
  if (events.length) move.run(events[events.length - 1].position);
  return events.length;
});

let pending = false;
function wake() {
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    if (deliver.immediate(500) === 500) wake();
  }, POLL_MS);
}
wake();

// Sorts by time, so that rows are added at the end of the index.
function newId() {
  return `prod_${Date.now().toString(16).padStart(12, "0")}${crypto.randomUUID().slice(14)}`;
}

// ---- the server

const app = fastify({ logger: false, keepAliveTimeout: 75_000, bodyLimit: 1 << 20 });
const text = { type: "string" };
const price = {
  type: "object", required: ["minor", "currency"], additionalProperties: false,
  properties: { minor: { type: "integer", minimum: 0 }, currency: { type: "string", pattern: "^[A-Z]{3}$" } },
};
const parts = {
  handle: { type: "string", minLength: 1, maxLength: 80 },
  title: { type: "string", minLength: 1, maxLength: 200 },
  description: { type: "string", maxLength: 5000 },
  price,
  stock: { type: "integer", minimum: 0 },
  tags: { type: "array", items: text },
  attributes: { type: "object", additionalProperties: text },
};
const product = { type: "object", properties: { id: text, ...parts, created_at: text } };
const newProduct = {
  type: "object", required: Object.keys(parts), additionalProperties: false, properties: parts,
};

const keys = new Map();
app.decorateRequest("site", "");
app.addHook("onRequest", (request, reply, done) => {
  const authorization = request.headers.authorization ?? "";
  let known = keys.get(authorization);
  if (known === undefined || known.until < Date.now()) {
    const secret = authorization.slice(authorization.lastIndexOf("_") + 1);
    const site = bySecret.get(crypto.createHash("sha256").update(secret).digest("hex"));
    if (site === undefined || !authorization.startsWith("Bearer ")) {
      reply.code(401).send({ detail: "The API key is not known here." });
      return;
    }
    if (keys.size > 10_000) keys.clear();
    known = { site, until: Date.now() + KEY_FRESH_MS };
    keys.set(authorization, known);
  }
  request.site = known.site;
  done();
});

app.get("/bench/products/:handle", { schema: { response: { 200: product } } }, (request, reply) => {
  const row = byHandle.get(request.site, request.params.handle);
  if (row === undefined) {
    reply.code(404).send({ detail: "There is no such product." });
    return;
  }
  row.price = { minor: row.price_minor, currency: row.price_currency };
  row.tags = JSON.parse(row.tags);
  row.attributes = JSON.parse(row.attributes);
  reply.send(row);
});

app.post("/bench/products", { schema: { body: newProduct } }, (request, reply) => {
  const key = request.headers["idempotency-key"];
  const made = {
    id: newId(), ...request.body, created_at: new Date().toISOString(),
  };
  const answer = JSON.stringify(made);
  const digest = key ? crypto.createHash("sha256").update(JSON.stringify(request.body)).digest("hex") : "";
  let kept;
  try {
    kept = create.immediate(request.site, key, digest, made, answer);
  } catch (error) {
    if (error.code !== "SQLITE_CONSTRAINT_UNIQUE") throw error;
    reply.code(409).send({ detail: "There is a product with this handle." });
    return;
  }
  reply.code(201).type("application/json");
  if (kept === null) {
    wake();
    reply.send(answer);
  } else if (kept.request !== digest) {
    reply.code(422).send({ detail: "This Idempotency-Key was used for a different request." });
  } else {
    reply.header("idempotency-replayed", "true").send(kept.answer);
  }
});

app.get("/bench/tally", (request, reply) => reply.send({ created: tallyOf.get(request.site) }));
app.get("/bench/count", (request, reply) => reply.send({ products: countOf.get(request.site) }));

process.on("SIGTERM", () => app.close().then(() => { db.close(); process.exit(0); }));
app.listen({ port: Number(port), host: "127.0.0.1" });
