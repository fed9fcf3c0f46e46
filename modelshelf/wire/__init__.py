"""The one door for requests: which hosts may be reached, where credentials go, how long is waited and how much is taken.

The client stands on libcurl. Redirects are followed here and not by libcurl, because each hop is a decision: credentials stay
with the origin (scheme, host and port) that they belong to, https never becomes http, and a server cannot send us to an address
inside our own network. The same holds for every other address that a server names: a token service, the next page of a list. The
address that is checked is the one that is connected to: libcurl asks before it opens the socket.
"""

from modelshelf.wire.answer import Answer, Login, Sink
from modelshelf.wire.client import Wire, json_body
from modelshelf.wire.url import Authorization, Url

__all__ = ["Answer", "Authorization", "Login", "Sink", "Url", "Wire", "json_body"]
