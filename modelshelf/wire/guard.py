"""Whether a hop may connect to an address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Set

import pycurl

from modelshelf.errors import RedirectInside, RedirectRefused
from modelshelf.wire.url import Url

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_UNICAST = ipaddress.IPv6Network("2000::/3")


class Guard:
    """Decides whether a hop may connect to an address.

    The source's own host was named by the operator, at whatever address. A host that a server names is reached only at a
    public address, unless the source's block names it too, or the source itself is on loopback and so is the target. A
    source that was reached at a public address once stays public: its name cannot move inside meanwhile.
    """

    def __init__(
        self, source: Url, url: Url, trusted: frozenset[str], source_at_loopback: bool, public: Set[str] = frozenset()
    ) -> None:
        self._source, self._url = source, url
        self._public = public
        self._named = url.host in trusted or url.place in trusted
        self._own = url.host == source.host
        self._loopback = source_at_loopback
        self.refused: RedirectRefused | None = None
        self._opened: list[socket.socket] = []

    def check_scheme(self, before: Url) -> None:
        """Raise RedirectRefused if the address, which `before` named, is the first that is not https."""
        if before.scheme == "https" and self._url.scheme != "https":
            raise RedirectRefused(host=before.place, target=self._url, reason="it would leave https")

    def check_literal(self) -> None:
        """Raise RedirectInside for an address in the URL itself; where a proxy connects, this is all that can be checked."""
        try:
            address = ipaddress.ip_address(self._url.host)
        except ValueError:
            return
        if (reason := self._why_not(address)) is not None:
            raise RedirectInside(host=self._source.place, target=self._url, reason=reason)

    def open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        family, kind, protocol, where = address
        if (reason := self._why_not(ipaddress.ip_address(where[0].partition("%")[0]))) is not None:
            self.refused = RedirectInside(host=self._source.place, target=self._url, reason=reason)
            return int(pycurl.SOCKET_BAD)
        self._opened.append(socket.socket(family, kind, protocol))
        return self._opened[-1]

    def close(self) -> None:
        """Close our handles of the sockets that were opened; pycurl has connected through duplicates of them."""
        while self._opened:
            self._opened.pop().close()

    def _why_not(self, address: Address) -> str | None:
        address = plain(address)
        own = self._own and self._url.host not in self._public
        if self._named or own or is_public(address) or (self._loopback and address.is_loopback):
            return None
        return f"{address} is in a private network"


def is_public(address: Address) -> bool:
    """Return whether the address is one of the Internet's. Of IPv6, only 2000::/3 is (IANA, "IPv6 Global Unicast Address")."""
    outside = address.version == 4 or address in _UNICAST
    return outside and address.is_global and not address.is_multicast


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.IPv6Network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
