"""Search: Hansa's index beside SQLite FTS5 and PostgreSQL full text; then a million documents,
HTTP, freshness and density.

Why: a service that calls itself fast and good at finding has to show both on the same data and the
same queries, with the same things asked: the documents of the page, counts for three facets over
all that is found, marked words in two fields.

What must never happen here:
- a peer that is slower than it has to be: each has its own index, settings and form of query,
  chosen by what was tried (`fts5`, `postgres_text`);
- an answer that was kept counted as a search: before each pass over the queries Hansa's index gets
  a commit, so it has seen none of them; what repeated queries cost is told apart;
- processor time that escapes the count: PostgreSQL's processes count with the client's;
- judgements that a recipe was made for: they are half of the published ones, the rest is elsewhere.

    python -m benchmarks.search                 all parts, some 15 minutes
    python -m benchmarks.search --quick         the same, small: some 3 minutes
    python -m benchmarks.search peers typos     these parts
"""
