"""What tests of moving share."""

import secrets
from collections.abc import Iterator

import pytest

from hansa.testing.postgres import Cluster, Dsns


@pytest.fixture
def other_dsns(postgres_cluster: Cluster) -> Iterator[Dsns]:
    """The logins of one more empty database."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres_cluster.new_database(name)
    postgres_cluster.drop(name)
