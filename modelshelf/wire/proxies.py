"""Which proxy a request goes through, as the environment says. Loopback is never asked through one, whatever it says."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from modelshelf.wire.url import Url

PREFIX = "MODELSHELF_"
"""Our server and worker get the proxies' variables under this prefix, for the requests that leave this machine alone."""
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def proxy_for(url: Url) -> str:
    """The proxy for this address; empty for none."""
    if is_loopback(url.host):
        return ""
    proxy = _variable(f"{url.scheme}_proxy") or _variable("all_proxy")
    if not proxy:
        return ""
    import urllib.request  # brings `email` and `ssl` along, and a command that only reads needs no network

    bypassed = urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]
        f"{url.host}:{url.port}", {"no": _variable("no_proxy")}
    )
    return "" if bypassed else proxy


def how(url: Url) -> str:
    """The way to this address, for a message: what a person may have to set. Nothing for loopback."""
    if is_loopback(url.host):
        return ""
    if not (proxy := proxy_for(url)):
        return f" directly (no proxy is set for it in {url.scheme.upper()}_PROXY)"
    return f" through the proxy {_host(proxy)}"


def without_logins(text: str) -> str:
    """The text with the user and password of every address in it taken out, whatever signs those of our own proxies hold."""
    for name in VARIABLES:
        login, at, _ = _variable(name.lower()).rpartition("@")
        if at:
            text = text.replace(f"{login.rpartition('://')[2]}@", "")
    return re.sub(r"(//)[^\s']*@|\b[^\s/@']*:[^\s/@']*@", r"\1", text)


def is_loopback(host: str) -> bool:
    """Whether this name means this machine itself. Source of the names: RFC 6761, 6.3."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def for_children(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment for programs of ours whose own requests go to loopback alone.

    A client that they bring along would ask even loopback through a proxy, or fail at one whose kind it does not know: so
    the proxies stand under our prefix, where only `proxy_for` looks.
    """
    names = {name for name in environment if name.upper() in VARIABLES}
    kept = {name: value for name, value in environment.items() if name not in names}
    moved = {f"{PREFIX}{name.upper()}": environment[name] for name in sorted(names)}  # lower case sorts last, and wins
    return kept | moved | passing_by(environment)


def passing_by(environment: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` as it is, and loopback with it."""
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if listed.strip() == "*":
        return {"NO_PROXY": "*", "no_proxy": "*"}
    hosts = [host.strip() for host in listed.split(",") if host.strip()]
    everything = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
    return {"NO_PROXY": everything, "no_proxy": everything}


def _variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or os.environ.get(f"{PREFIX}{name.upper()}") or ""


def _host(proxy: str) -> str:
    try:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "that the environment names"
