"""Where the shop is in these tests: on all services that Hansa brings."""

from collections.abc import Sequence

import pytest

from hansa.assembly import SERVICES
from hansa.kernel.service import Service


@pytest.fixture
def services() -> Sequence[Service]:
    return SERVICES
