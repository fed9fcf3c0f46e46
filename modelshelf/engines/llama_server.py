"""The server of the wheel `xllamacpp` as a command that takes `llama-server`'s own arguments."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT."""
    options = _options().parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    if options.mmproj:
        params.mmproj.path = options.mmproj
    if options.api_key_file:
        params.api_keys = [line.strip() for line in Path(options.api_key_file).read_text().splitlines() if line.strip()]
    if options.chat_template:
        params.chat_template = options.chat_template
    params.embedding = options.embeddings
    params.n_ctx = options.ctx_size
    params.n_batch = options.batch_size
    params.n_ubatch = options.ubatch_size
    params.n_parallel = options.parallel
    params.n_gpu_layers = options.n_gpu_layers
    params.cpuparams.n_threads = options.threads
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening at {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # a request that is being answered would keep its destructor waiting


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama-server", description=__doc__)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-a", "--alias", required=True)
    parser.add_argument("--mmproj", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key-file", default="")
    parser.add_argument("--chat-template", default="")
    parser.add_argument("--embedding", "--embeddings", dest="embeddings", action="store_true")
    parser.add_argument("-c", "--ctx-size", type=int, default=4096, help="tokens; 0: as the model says")
    parser.add_argument("-b", "--batch-size", type=int, default=2048)
    parser.add_argument("-ub", "--ubatch-size", type=int, default=512)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-ngl", "--n-gpu-layers", "--gpu-layers", type=int, default=-1)
    parser.add_argument("-t", "--threads", type=int, default=-1)
    return parser


if __name__ == "__main__":
    main()
