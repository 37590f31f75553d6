"""Calls from handler to handler, to see what `ctx.call` itself costs."""

import time

from benchmarks.shelf import shelf
from benchmarks.shelf.api import Product, Tally, get_product
from hansa.kernel.context import Context
from hansa.kernel.operation import INTERNAL
from hansa.kernel.structs import Struct


class Cost(Struct):
    """Processor time of one call, nanoseconds."""

    ns: int


_ONE = Tally(1)


@shelf.query(needs=INTERNAL)
async def answer_at_once(ctx: Context) -> Tally:
    """Return a small value without asking the database."""
    return _ONE


@shelf.query(needs="bench.products:read")
async def call_at_once(ctx: Context, times: int) -> Cost:
    """Call `answer_at_once` many times."""
    begun = time.thread_time_ns()
    for _ in range(times):
        await ctx.call(answer_at_once)
    return Cost((time.thread_time_ns() - begun) // times)


@shelf.query(needs="bench.products:read")
async def call_and_read(ctx: Context, times: int, handle: str) -> Cost:
    """Call `get_product` many times: a call with a statement and a value of 900 bytes."""
    found: Product
    begun = time.thread_time_ns()
    for _ in range(times):
        found = await ctx.call(get_product, handle=handle)
        assert found.handle == handle
    return Cost((time.thread_time_ns() - begun) // times)
