"""The server of the wheel `xllamacpp` as a command that takes `llama-server`'s own arguments."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from modelshelf.engines import llama_options


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    arguments = sys.argv[1:]
    if origins := os.environ.get("LLAMA_ARG_CORS_ORIGINS"):  # as llama-server does; an argument comes after it and wins
        arguments = ["--cors-origins", origins, *arguments]
    try:
        llama_options.apply(params, arguments, enums=xllamacpp)
    except llama_options.BadOption as error:
        sys.exit(f"error: {error}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening at {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # a request that is being answered would keep its destructor waiting


if __name__ == "__main__":
    main()
