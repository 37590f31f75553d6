"""Exporting: kept segments sent to a collector over OTLP/HTTP, from a thread with a bounded queue.

Source: OpenTelemetry Protocol 1.7, "OTLP/HTTP": 429, 502, 503 and 504 are tried again after
Retry-After or a growing wait; every other refusal drops the batch, and is counted.
"""

import gzip
import logging
import random
import threading
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from hansa.kernel.observe import otlp
from hansa.kernel.observe.spans import Segment

logger = logging.getLogger("hansa.observe")

WAITING_MAX: Final = 4_096
BATCH_MAX: Final = 256
TRIES_MAX: Final = 5
AGAIN: Final = frozenset({429, 502, 503, 504})
WAIT_S: Final = 1.0
WAIT_MAX_S: Final = 30.0
STOP_S: Final = 3.0


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int | str = 0


class _Said(msgspec.Struct, rename="camel"):
    partial_success: _Partial = msgspec.field(default_factory=_Partial)


class Exporter:
    """Sends segments to one endpoint."""

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        timeout_s: float = 10.0,
        service: str = "hansa",
        process: str = "",
    ) -> None:
        """Name the address that traces are posted to, with its path."""
        self._address = urlsplit(endpoint)
        self._headers = {
            "content-type": "application/json", "content-encoding": "gzip",
            "user-agent": "hansa-otlp", **dict(headers),
        }  # fmt: skip
        self._timeout_s = timeout_s
        self._service = service
        self._process = process
        self._waiting: deque[tuple[Segment, int]] = deque()
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_trouble = False
        self.sent = 0
        self.rejected = 0
        """Spans of what was sent that the collector would not have ("Partial Success")."""
        self.lost = 0
        """Segments that were let go: too many waited, or the collector would not have them."""

    def take(self, segments: Sequence[Segment], offset_us: int) -> None:
        """Have segments sent soon; from any thread."""
        for one in segments:
            if len(self._waiting) >= WAITING_MAX:
                self.lost += 1
            else:
                self._waiting.append((one, offset_us))
        self._awake.set()

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._work, name="hansa-otlp", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits once, and end; a collector that does not answer is left behind."""
        self._stopping.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    # ---- in the thread

    def _work(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            while self._waiting:
                count = min(BATCH_MAX, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                if self._send(batch):
                    self.sent += count
                else:
                    self.lost += count
            if self._stopping.is_set():
                return

    def _send(self, batch: Sequence[tuple[Segment, int]]) -> bool:
        """Send a batch, again and again where that is of use; False when it is let go."""
        segments = [one for one, _ in batch]
        body = gzip.compress(
            otlp.request(segments, batch[-1][1], self._service, self._process), compresslevel=1
        )
        wait_s = WAIT_S
        for _ in range(TRIES_MAX):
            status, retry_after, why = self._post(body)
            if 200 <= status < 300:
                self._in_trouble = False
                return True
            if not self._in_trouble:
                logger.warning("traces cannot be exported to %s: %s", self._address.netloc, why)
                self._in_trouble = True
            if status and status not in AGAIN:
                return False
            pause_s = min(WAIT_MAX_S, retry_after or wait_s * random.uniform(0.5, 1.0))
            if self._stopping.wait(pause_s):
                return False
            wait_s = min(WAIT_MAX_S, wait_s * 2)
        return False

    def _post(self, body: bytes) -> tuple[int, float, str]:
        """Return the status, the seconds to wait if it says so, and what to tell; 0 for none."""
        address = self._address
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        line = kind(address.hostname or "", address.port, timeout=self._timeout_s)
        try:
            path = address.path or "/"
            line.request("POST", f"{path}?{address.query}" if address.query else path, body,
                         self._headers)  # fmt: skip
            reply = line.getresponse()
            said = reply.read(4_096)
            if 200 <= reply.status < 300:
                self.rejected += _rejected(said)
            after = reply.headers.get("retry-after", "")
            seconds = float(after) if after.isdecimal() and len(after) < 6 else 0.0
            return reply.status, seconds, f"it answers {reply.status}"
        except (OSError, HTTPException, ValueError) as error:
            return 0, 0.0, repr(error)
        finally:
            line.close()


def _rejected(said: bytes) -> int:
    """Return how many spans a collector says it has not taken."""
    try:
        return int(msgspec.json.decode(said, type=_Said).partial_success.rejected_spans)
    except (msgspec.MsgspecError, ValueError):
        return 0
