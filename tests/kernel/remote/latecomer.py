"""A service that comes late, and hears what the others have told before."""

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, upsert
from hansa.kernel.context import Context
from hansa.kernel.service import Service
from tests.kernel.remote.telling import Whispered

latecomer = Service("latecomer", owner="kernel", package=__name__)

whispers = latecomer.table("whispers", text("name", primary=True), integer("count"))

_hear = upsert(
    whispers, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": whispers.c.count + 1}, returning=(whispers.c.count,),
)  # fmt: skip


@latecomer.on(Whispered)
async def hear_whisper(ctx: Context, event: Whispered) -> None:
    await ctx.db.value(_hear, int, name=event.name)
