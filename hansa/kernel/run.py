"""Run: for whom, because of what and until when a handler runs."""

from hansa.kernel.caller import Principal
from hansa.kernel.site import SiteInfo
from hansa.kernel.structs import Struct


class Run(Struct):
    """What every row that a handler writes carries, and what its children inherit."""

    site: SiteInfo
    principal: Principal
    cause: str  # the operation, subscriber, due work or schedule
    service: str
    trace: str
    deadline: float  # monotonic seconds
    due_at_us: int = 0
    now_us: int = 0  # 0: read the site's clock
    trigger: str = ""  # what makes identifiers on a test clock: a key, an event, a due row
    serial_by: str | None = None
