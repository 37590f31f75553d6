"""A real HTTPS server that receives webhooks, and behaves as a test tells it."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hansa.platform.webhooks.posting import Poster

HOST = "hooks.example"


@dataclass
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Return a behaviour that answers with a status."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        fields = {"content-length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)

    return behave


def raw(data: bytes, *, then: asyncio.Event | None = None) -> Behaviour:
    """Return a behaviour that writes bytes, and hangs up when it is told."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then is not None:
            await then.wait()

    return behave


@dataclass
class Receiver:
    """The server: what it has received, and how it behaves next; without a plan it answers 204."""

    port: int = 0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    received: list[Received] = field(default_factory=list[Received])
    plan: list[Behaviour] = field(default_factory=list[Behaviour])
    always: Behaviour = field(default_factory=lambda: answer(204))
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/take?from=shop"

    def poster(self, timeout_s: float = 15.0) -> Poster:
        """Return what sends here: the name leads to this machine, which is allowed."""

        async def here(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        return Poster((ip_network("127.0.0.0/8"),), tls=self.tls, resolve=here, timeout_s=timeout_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {
                line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line
            }
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            request = Received(head[0].split(" ")[1], fields, body)
            self.received.append(request)
            self.arrived.set()
            behave = self.plan.pop(0) if self.plan else self.always
            await behave(request, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def certificate(folder: Path, address: str = "127.0.0.2") -> tuple[Path, Path]:
    """Write a certificate for HOST and an address that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ip_address(address))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "receiver.pem", folder / "receiver.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[Receiver]:
    """Run a receiver on this machine."""
    pem, key = certificate(folder)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(pem, key)
    receiver = Receiver(tls=ssl.create_default_context(cafile=str(pem)))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=served)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
