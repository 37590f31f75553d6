"""Server: granian in our own process and loop, from listening to the last answer."""

import asyncio
import errno
import gc
import logging
import resource
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from granian.constants import Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.leaving import SETTLE_S, overlook_new
from hansa.kernel.http.mounts import AsgiApp
from hansa.kernel.http.rsgi import RsgiFace

logger = logging.getLogger("hansa.http")

BACKLOG: Final = 4096
CONNECTIONS_MAX: Final = 16_384
FILES: Final = 20_000
"""Open files: the connections, and room for the storage."""
HEAD_BYTES_MAX: Final = 1 << 16
"""The start line and headers of a request together."""
HEAD_WAIT_MS: Final = 15_000
START_S: Final = 10.0
LOOK_S: Final = 0.01
"""Between two looks at whether anything is under way."""
YOUNG_OBJECTS: Final = 20_000
"""New objects before the next search for cycles among them."""


class AddressTaken(Exception):
    """Somebody listens already where the server should."""


def check_address(host: str, port: int) -> None:
    """Raise AddressTaken, or OSError with another reason, unless a server can listen there.

    granian listens with SO_REUSEPORT, so two servers would share a port and each get half of the
    requests; hence this is asked first, before anything else is started.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"{host} is no address to listen on: {_reason(error)}.") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTaken(f"Something else already listens on {host}:{port}.") from error
            raise OSError(f"Nobody can listen on {host}:{port}: {_reason(error)}.") from error


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def allow_connections() -> None:
    """Raise the number of open files, so of connections, as far as this user may.

    The usual 1,024 is less than a thousand buyers and what else is open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle_memory() -> None:
    """Leave what the process has begun with out of the search for cycles, which by default visits
    all of it again and again: 15 us of a command, and pauses of 30 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


async def serve(
    app: HttpApp,
    host: str,
    port: int,
    *,
    mounts: Mapping[str, AsgiApp] | None = None,
    on_started: Callable[[], None],
    stop: asyncio.Event,
    linger_s: float = 0.0,
    settle_s: float = SETTLE_S,
    drain_s: float = 20.0,
) -> None:
    """Serve until `stop` is set and the requests under way are answered.

    From the stop on `/readyz` says no and every answer asks its client to close the connection. For
    `linger_s` all goes on: so long balancers may take to notice. For `settle_s` more, connections
    that were made may bring their request. Then at most `drain_s` pass.

    `mounts` are applications by prefix (see `Mounts`). `on_started` is called when connections are
    accepted. Raises AddressTaken before anything starts, and RuntimeError when the server ends by
    itself.
    """
    check_address(host, port)
    allow_connections()
    server = _granian(RsgiFace(app, mounts), host, port)
    serving = asyncio.create_task(server.serve(), name="hansa-http")
    stopping = asyncio.create_task(stop.wait(), name="hansa-http-stop")
    try:
        await _accepting(host, port, serving)
        settle_memory()
        on_started()
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise RuntimeError("granian stopped by itself") from serving.exception()
        app.drain()
        await asyncio.wait([serving], timeout=linger_s)
        overlook_new(server._sfd)  # granian's own name for it; the version is locked
        await asyncio.wait([serving], timeout=settle_s)
        await _drain(app, server, serving, asyncio.get_running_loop().time() + drain_s)
    finally:
        stopping.cancel()
        if not serving.done():
            server.stop()
            serving.cancel()


def _granian(face: RsgiFace, host: str, port: int) -> Any:
    return Server(
        face,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        log_enabled=False,
        websockets=False,
        backlog=BACKLOG,
        # granian's own default is the backlog: so many connections, and the others starve.
        backpressure=CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEAD_WAIT_MS, max_buffer_size=HEAD_BYTES_MAX
        ),
        http2_settings=HTTP2Settings(max_headers_size=HEAD_BYTES_MAX, max_concurrent_streams=256),
    )


async def _accepting(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    """Return when a connection is accepted. Raises RuntimeError when none is in time."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    end = asyncio.get_running_loop().time() + START_S
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(target, port)
        except OSError as error:
            if asyncio.get_running_loop().time() > end:
                raise RuntimeError(f"nothing accepts connections at {host}:{port}") from error
            await asyncio.sleep(0.005)
            continue
        writer.close()
        return
    raise RuntimeError("granian did not start") from serving.exception()


async def _drain(app: HttpApp, server: Any, serving: "asyncio.Task[None]", end: float) -> None:
    """Close idle connections, and answer what is under way; where other processes call this one,
    answer first, since what the others do for that may need this one."""
    now = asyncio.get_running_loop().time
    while app.inner is not None and app.outside and not serving.done() and now() < end:
        await asyncio.wait([serving], timeout=LOOK_S)
    server.stop()
    done, _ = await asyncio.wait([serving], timeout=max(0.0, end - now()))
    if done:
        serving.result()
    else:
        logger.warning("%d requests were not answered in time", app.gate.inside)
