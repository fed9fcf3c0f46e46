#!/usr/bin/env python3
"""Takes `llama-server`'s arguments and answers as it does, in a blink. What follows `--say` changes how."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--alias", required=True)
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--api-key-file")
parser.add_argument("--say", choices=["die", "other-name", "no-token", "with-child"])
options = parser.parse_args()
key = Path(options.api_key_file).read_text().strip() if options.api_key_file else None
if options.say == "with-child":  # as vLLM's and Ollama's, which do the work and hold the memory
    subprocess.Popen(["/bin/sleep", "600"])
if options.say == "die":
    sys.exit("this engine cannot load the model: not enough memory")
if not Path(options.model).read_bytes().startswith(b"GGUF"):
    sys.exit("not a GGUF")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self._send({"status": "ok"})
        elif key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            self.send_error(401)
        else:
            self._send({"data": [{"id": "another" if options.say == "other-name" else options.alias}]})

    def do_POST(self) -> None:
        if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            self.send_error(401)
            return
        tokens = 0 if options.say == "no-token" else 1
        self._send({"choices": [{"text": "!"}], "usage": {"completion_tokens": tokens}})

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        print(format % args, flush=True)


ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
