"""Leaving: at a stop, nobody who has been let in is turned away.

To close a listening socket resets the connections that wait in its queue, and granian closes those
whose first request has not come yet. Hence the kernel first overlooks who knocks anew: it knocks
again within a second and finds nobody, which every client takes for "try the next one". Who came
before has a moment to send what it came with.
"""

import ctypes
import socket
import struct
import sys
from typing import Final

SETTLE_S: Final = 0.5
"""From a made connection to the first byte of its request; browsers' spare connections wait longer,
and nothing is lost with them."""
SO_ATTACH_FILTER: Final = 26
FLAGS: Final = 13
"""Where the flags stand in a TCP header (RFC 9293, section 3.1)."""
SYN: Final = 0x02
OVERLOOK_SYN: Final = (
    (0x30, 0, 0, FLAGS),  # load the byte
    (0x45, 0, 1, SYN),  # unless the bit is set, skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFF_FFFF),  # take all of it
)
"""A program of the classic BPF (linux/filter.h): code, jump if true, jump if false, operand."""


def overlook_new(listener: int) -> bool:
    """Have the kernel overlook who wants a new connection to this listening socket, and keep those
    that were made. Return False where the kernel cannot: then they are taken until the end."""
    if sys.platform != "linux":
        return False
    steps = b"".join(struct.pack("HBBI", *step) for step in OVERLOOK_SYN)
    program = ctypes.create_string_buffer(steps, len(steps))
    told = struct.pack("HP", len(OVERLOOK_SYN), ctypes.addressof(program))
    ours = socket.socket(fileno=listener)
    try:
        ours.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, told)
    except OSError:
        return False
    finally:
        ours.detach()
    return True
