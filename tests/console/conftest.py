"""Where the pages are in these tests: on all services that Hansa brings, and a quay."""

from collections.abc import Sequence

import pytest

from hansa.assembly import SERVICES
from hansa.kernel.service import Service
from tests.console.quay import quay


@pytest.fixture
def services() -> Sequence[Service]:
    return (*SERVICES, quay)
