"""Calling: an operation is run where its service and the site's rows are, here or elsewhere."""

from typing import TYPE_CHECKING, Any, Final

from hansa.kernel import codec
from hansa.kernel.admission import admit
from hansa.kernel.answer import Answer
from hansa.kernel.caller import Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.context import Context
from hansa.kernel.fence import SiteElsewhere, SiteMoving
from hansa.kernel.observe.spans import Inside
from hansa.kernel.operation import INTERNAL, PUBLIC, Operation
from hansa.kernel.position import read_position
from hansa.kernel.problems import NotFound
from hansa.kernel.run import Run
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM
from hansa.kernel.whereabouts import settled

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

EVERYWHERE: Final = "attempts"
"""The service that every process has: an attempt is in the cell of its action, and its name does
not tell which."""


async def invoke(
    runtime: "Runtime",
    operation: Operation[..., Any],
    caller: Caller,
    arguments: dict[str, Any],
    *,
    request_hash: str,
    **more: Any,
) -> Answer:
    """Run an operation for a caller from outside (see `Runtime.invoke`)."""

    async def ask(cell: str) -> Answer:
        if is_here(runtime, operation, cell):
            try:
                return await runtime.invoke_here(
                    operation, caller, arguments, request_hash=request_hash, **more
                )
            except (NotFound, SiteElsewhere):
                if runtime.is_whole or operation.service != EVERYWHERE:
                    raise
        way = runtime.way(operation)
        if more["token"]:
            read_position(more["token"])
        deadline = more["deadline"] or deadline_in(operation.deadline_s)
        return await way.forward(
            operation, caller, arguments, everywhere=operation.service == EVERYWHERE, cell=cell,
            request=request_hash, **{**more, "deadline": deadline},
        )  # fmt: skip

    if runtime.remote is None or operation.scope == "platform":
        return await ask("")
    return await settled(runtime, caller.site, more["deadline"], ask)


async def as_known(
    runtime: "Runtime", operation: Operation[..., Any], site: SiteInfo, token: str
) -> SiteInfo:
    """Return a site that work was sent here for, looked up anew where whoever sent it seems to know
    more of it than this process. Raises Invalid for what is no position, and SiteMoving for a read
    that is to see what was written in the cell to which the site has gone."""
    epoch = read_position(token).epoch if token else 0
    if not runtime.shares_sites or operation.service == EVERYWHERE or site.id == PLATFORM:
        return site
    if epoch > site.epoch or not runtime.is_home(site):
        runtime.directory.forget(site.id)
        site = await runtime.site(site.id)
        if operation.kind == "query" and is_behind(
            site.epoch, epoch, at_home=runtime.is_home(site)
        ):
            raise SiteMoving("The site has been moved; send the request again.", retry_after_s=1)
    return site


def is_behind(here: int, read: int, *, at_home: bool) -> bool:
    """Tell whether a cell, which knows a site in the epoch `here`, may have older rows than a
    position of the epoch `read` says; 0 is none. Pure."""
    return read > here or (read > 0 and not at_home)


def is_here(runtime: "Runtime", operation: Operation[..., Any], cell: str) -> bool:
    """Tell whether an operation runs in this process for a site that is in a cell."""
    if not runtime.serves(operation.service):
        return False
    if runtime.remote is None or not runtime.shares_sites or operation.scope == "platform":
        return True
    return operation.service == EVERYWHERE or runtime.remote.is_home(cell)


async def call(
    runtime: "Runtime", context: Context, operation: Operation[..., Any], args: Any, kwargs: Any
) -> Any:
    """Run a query for another handler (see `Runtime.call`)."""
    if operation.needs not in (PUBLIC, INTERNAL):
        admit(operation, context.principal)
    arguments = operation.named(args, kwargs)
    if runtime.recorder is not None and operation.service != context.run.service:
        runtime.recorder.edge(context.run.service, operation.service, operation.id)
    if not is_here(runtime, operation, context.settings.cell):
        return await _call_there(runtime, context, operation, arguments)
    if runtime.as_if_remote:
        arguments = runtime.stored.operation_arguments(operation, codec.encode(arguments))
    origin = context.run
    run = Run(
        context.settings, context.principal, operation.id, operation.service, origin.trace,
        origin.deadline,
    )  # fmt: skip
    with Inside("call", operation.id):
        value = await runtime.query(operation, run, arguments)
    if runtime.as_if_remote:
        value = codec.decode(codec.encode(value), operation.returns)
    return value


async def _call_there(
    runtime: "Runtime", context: Context, operation: Operation[..., Any], arguments: dict[str, Any]
) -> Any:
    way = runtime.way(operation)

    async def ask(cell: str) -> Answer:
        return await way.invoke(
            operation, context.site, context.principal, arguments, inside=True,
            deadline=context.run.deadline, trace=context.run.trace, cell=cell,
        )  # fmt: skip

    answer = await settled(runtime, context.site, context.run.deadline, ask)
    return way.value(answer, operation.returns)
