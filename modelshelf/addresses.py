"""Addresses that an engine listens at, as a client on this machine writes them."""

from __future__ import annotations

import ipaddress

_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Every address of this machine: a client on it uses loopback."""


def url_host(bind: str) -> str:
    """Return `bind` as a URL has it: an IPv6 address in brackets."""
    return f"[{bind}]" if ":" in bind else bind


def base_url(bind: str, port: int) -> str:
    """Return the address at which a client on this machine reaches what listens at `bind`."""
    return f"http://{url_host(_NEAR.get(bind, bind))}:{port}"


def is_loopback(bind: str) -> bool:
    """Return whether only this machine can reach what listens at `bind`."""
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"
