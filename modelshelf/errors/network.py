"""The network: servers that are away, slow, closed, or answer what they should not."""

from __future__ import annotations

from modelshelf.failures import OfAnyLayer, Refused, Unavailable


class Unreachable(OfAnyLayer, Unavailable):
    """{host} could not be reached{how}: {reason}."""


class Stalled(OfAnyLayer, Unavailable):
    """{host} stopped sending: fewer than {rate} bytes a second for {seconds} s."""


class NoAnswer(OfAnyLayer, Unavailable):
    """{host} did not answer {what} within {seconds} s."""


class ServerTrouble(OfAnyLayer, Unavailable):
    """{host} answered {status} for {what}{detail}."""


class TooBusy(OfAnyLayer, Unavailable):
    """{host} asks us to wait {seconds} s (status {status}); modelshelf waits {limit} s at most."""


class ConnectionCut(OfAnyLayer, Unavailable):
    """The connection to {host} ended early: {found} of {expected} bytes of {what}."""


class CertificateRefused(OfAnyLayer, Refused):
    """The certificate of {host} is not trusted: {reason}. Nothing was sent to it. If this is the right host, set
    SSL_CERT_FILE to the file with its certificate authority."""


class RedirectRefused(OfAnyLayer, Refused):
    """{host} redirects to {target}, which is refused: {reason}. Nothing was sent there."""


class RedirectInside(RedirectRefused):
    """{host} redirects to {target}, which is refused: {reason}. Nothing was sent there."""


class NotFound(OfAnyLayer, Refused):
    """{host} has no {what} (status {status}). Check the name and the tag or revision."""


class AccessDenied(OfAnyLayer, Refused):
    """{host} denies access to {what} (status {status}{detail})."""


class LoginNeeded(AccessDenied):
    """{host} denies access to {what} (status {status}{detail}). If it is private or gated, accept its terms on its page and
    store a token: `modelshelf login {login}`."""


class LoginNotUsed(Refused):
    """The login stored as {block} was not used for {host}: {reason}. Nothing was sent. Log in again: `modelshelf login
    ollama {host}`."""


class SpeaksHttp(Refused):
    """{host} answers http, not https. Nothing was sent but that one request. If plain http is intended, as for a registry
    on this machine: `modelshelf login ollama {host} --http --no-secret`, or without `--no-secret` if the registry asks for
    a password."""


class UnexpectedAnswer(OfAnyLayer, Refused):
    """{host} gave an unusable answer for {what}: {reason}."""


class ContentChanged(OfAnyLayer, Unavailable):
    """{what} changed on {host} during the download (ETag {before}, now {after})."""


class SourceChanged(OfAnyLayer, Refused):
    """{path} changed while it was being read ({before} bytes at the start, {after} at the end). Try again when nothing
    writes to it."""


class SourceUnreadable(OfAnyLayer, Refused):
    """{path} cannot be read: {reason}."""
