"""Who knocks after the stop is overlooked; who came before is still there to be let in."""

import socket
import sys

import pytest

from hansa.kernel.http.leaving import overlook_new


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_who_came_before_is_let_in_and_nobody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = socket.create_connection(listener.getsockname())
        assert overlook_new(listener.fileno())
        after = socket.socket()
        after.settimeout(0.2)
        with pytest.raises(TimeoutError):
            after.connect(listener.getsockname())
        taken, _ = listener.accept()
        before.sendall(b"here")
        assert taken.recv(4) == b"here"
        taken.sendall(b"yes")
        assert before.recv(3) == b"yes"
        for one in (before, after, taken):
            one.close()
