"""The address that is printed is one that a client on this machine can use."""

from __future__ import annotations

import socket

import pytest

from modelshelf.addresses import base_url, is_loopback
from modelshelf.errors import BadSetting, PortTaken
from modelshelf.nodes.sockets import require_free
from modelshelf.wire import Url


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("fd00::7", "http://[fd00::7]:8080"),
        ("localhost", "http://localhost:8080"),
    ],
)
def test_every_address_is_written_as_a_url(bind: str, url: str) -> None:
    assert base_url(bind, 8080) == url
    assert Url(url).port == 8080


@pytest.mark.parametrize(
    ("bind", "near"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("host", False),
    ],
)
def test_only_loopback_needs_no_key(bind: str, near: bool) -> None:
    assert is_loopback(bind) is near


def test_a_port_that_is_taken_and_an_address_of_another_machine_are_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken):
            require_free("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(BadSetting, match=r"cannot listen at 192\.0\.2\.1"):
        require_free("192.0.2.1", 0)
