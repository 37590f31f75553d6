"""The four topologies that every test here runs on, and the world around them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from hansa.testing.postgres import Cluster
from tests.conftest import SEED
from tests.platform.webhooks.receiver import Receiver
from tests.topology.fleet import Background, Fleet, apart, smtp_environment, together
from tests.topology.person import Person
from tests.topology.shopping import Shop

TOPOLOGIES: Final = ("sqlite", "postgres", "split", "faults")


@dataclass
class PostOffice:
    """A mail server that takes everything: the subjects, by recipient."""

    taken: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        lines = content.decode().splitlines()
        subject = next(line[9:] for line in lines if line.startswith("Subject: "))
        for one in envelope.rcpt_tos:
            self.taken.setdefault(one, []).append(subject)
        return "250 OK"


@pytest.fixture(scope="session")
def world() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


@pytest.fixture(scope="session")
def post_office(world: Background) -> Iterator[tuple[PostOffice, int]]:
    office = PostOffice()

    async def listen() -> asyncio.Server:
        return await world.loop.create_server(lambda: SMTP(office), "127.0.0.1", 0)

    server = world.run(listen())
    yield office, server.sockets[0].getsockname()[1]
    world.loop.call_soon_threadsafe(server.close)


@pytest.fixture(scope="session")
def hooks(world: Background) -> Iterator[Receiver]:
    """A server that webhooks are sent to; it takes everything."""
    receiver = Receiver()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(receiver.serve, "127.0.0.1", 0)

    server = world.run(listen())
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    world.loop.call_soon_threadsafe(server.close)


@pytest.fixture(scope="session", params=TOPOLOGIES)
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    world: Background,
    post_office: tuple[PostOffice, int],
) -> Iterator[Fleet]:
    """The same services, in each topology."""
    kind: str = request.param
    folder: Path = tmp_path_factory.mktemp(f"fleet-{kind}")
    parts = together(None)
    if kind != "sqlite":
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        dsns = cluster.new_database(f"fleet_{kind}")
        parts = together(dsns) if kind == "postgres" else apart(dsns)
    environment = smtp_environment(post_office[1])
    made = Fleet(folder, parts, world, environment, seed=SEED if kind == "faults" else None)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def operator(fleet: Fleet) -> Person:
    """Who runs the platform."""
    return Person(fleet.urls, key=fleet.operator_key)


@pytest.fixture
def shop(fleet: Fleet, operator: Person) -> Shop:
    """A new site with a product."""
    return Shop(operator, fleet.provider())


@pytest.fixture
def letters(post_office: tuple[PostOffice, int]) -> dict[str, list[str]]:
    """The subjects of what has been mailed, by recipient."""
    return post_office[0].taken
