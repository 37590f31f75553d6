"""Benchmarks: what an operation costs in Hansa and in its peers, measured side by side in one run.

Why: "fast" is a claim about a comparison. So each target is a whole server that does the same two
operations over HTTP with the same durability: read one product of a site (key checked, site
scoped), and create one durably (row, remembered key, event, the event's delivery to a subscriber).
They take turns in interleaved rounds on the same core, and are judged by the processor time of
server and database together for each verified operation, which a busy machine distorts least.

What must never happen here:
- a figure of operations that were not verified: every status is checked, of the bodies a sample,
  and after the run rows and deliveries are counted against what was acknowledged;
- a peer that is slower than it has to be, or that promises less than Hansa (no fsync, no key);
- processor time that escapes the count: children, threads, the database's background processes;
- a ratio of figures from different runs.

    python -m benchmarks                    all targets on SQLite, 3 rounds of 5 seconds
    python -m benchmarks hansa fastify --rounds 5 --seconds 10 --json results.json
    python -m benchmarks --engine postgres
    python -m benchmarks inside             calls, a hot item, 10,000 sites, an import, in process
"""
