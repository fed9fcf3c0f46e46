"""A busy server's wait, in the words in which servers tell it."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from modelshelf.errors import TooBusy
from modelshelf.stop import StopToken
from modelshelf.wire import Answer, Url, Wire
from modelshelf.wire.busy import seconds_asked

NOW = 1_800_000_000.0

ASKED = [
    ({"retry-after": "7"}, 7),
    ({"retry-after": formatdate(NOW + 50, usegmt=True)}, 50),
    ({"retry-after": formatdate(NOW - 50, usegmt=True)}, 0),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "1.2"}, 2),
    ({"retry-after": "3.0"}, 3),
    ({"retry-after": "9" * 30}, 10**9),
    ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 10**9),
    ({"retry-after": "1, 2"}, None),
    ({"ratelimit": '"api";r=0;t=-5'}, None),
    ({"ratelimit": '"api";r=0;t=1.5'}, 2),
    ({"ratelimit": '"api";r=0;t=99999999999'}, 10**9),
    ({"ratelimit": '"api";r=0;t=50'}, 50),
    ({"ratelimit": '"pages";r=10;t=300, "api";r=0;t=50'}, 50),
    ({"ratelimit": '"pages" ; r=1 ; t=30, "api";r=2;t=50'}, 50),
    ({"ratelimit": "nonsense"}, None),
    ({"ratelimit-reset": "12"}, 12),
    ({"retry-after": "3", "ratelimit": '"api";r=0;t=50'}, 3),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), ASKED, ids=str)
def test_the_wait_that_a_busy_server_asks_for(headers: dict[str, str], seconds: int | None) -> None:
    assert seconds_asked(headers, NOW) == seconds


def busy(**headers: str) -> Answer:
    return Answer(429, {name.replace("_", "-"): value for name, value in headers.items()}, b"", Url("https://h.example/"))


def test_a_wait_beyond_our_limit_is_an_error_that_states_it() -> None:
    with pytest.raises(TooBusy, match="6000 s"):
        Wire().wait_if_busy(busy(ratelimit='"api";r=0;t=6000'), StopToken())


def test_a_wait_within_our_limit_is_waited() -> None:
    waited: list[float] = []

    class Stop(StopToken):
        def wait(self, seconds: float) -> None:
            waited.append(seconds)

    assert Wire().wait_if_busy(busy(ratelimit='"api";r=0;t=50'), Stop())
    assert waited == [50]
