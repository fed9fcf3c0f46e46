#!/usr/bin/env python3
"""Takes `llama-server`'s arguments and answers as it does, in a blink. What follows `--say` changes how."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--alias", required=True)
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--api-key-file")
parser.add_argument("--embeddings", action="store_true")
parser.add_argument("--reranking", action="store_true")
for option in (
    "--threads",
    "--ctx-size",
    "--parallel",
    "--ubatch-size",
    "--mmproj",
    "--lora",
    "--temp",
    "--top-k",
    "--reverse-prompt",
):
    parser.add_argument(option)
parser.add_argument(
    "--say",
    choices=[
        "die",
        "other-name",
        "no-token",
        "with-child",
        "broken",
        "silent",
        "slow",
        "open",
        "deaf",
        "no-list",
        "rubbish",
        "large",
    ],
)
options = parser.parse_args()
key = Path(options.api_key_file).read_text().strip() if options.api_key_file else None
if options.say == "with-child":  # as vLLM's and Ollama's, which do the work and hold the memory
    subprocess.Popen(["/bin/sleep", "600"])
if options.say == "die":
    sys.exit("this engine cannot load the model: not enough memory")
if not Path(options.model).read_bytes().startswith(b"GGUF"):
    sys.exit("not a GGUF")
if b"cannot be loaded" in Path(options.model).read_bytes():
    sys.exit("error: unknown model architecture: 'cannot be loaded'")


if options.say == "deaf":
    time.sleep(600)
began = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            loading = options.say == "silent" or (options.say == "slow" and time.monotonic() - began < 1)
            self._send({"status": "loading" if loading else "ok"}, 503 if loading else 200)
        elif key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            self.send_error(401)
        else:
            self._send(
                []
                if options.say == "no-list"
                else {"data": [{"id": "another" if options.say == "other-name" else options.alias}]}
            )

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if key is not None and options.say != "open" and self.headers.get("Authorization") != f"Bearer {key}":
            self._send({"error": {"message": "Invalid API Key"}}, 401)
        elif options.say == "broken":
            self._send({"error": {"message": "the kernel for this head size is missing"}}, 500)
        elif question["model"] != options.alias:
            self._send({"error": {"message": f"no model {question['model']}"}}, 404)
        elif self.path == "/v1/embeddings" and options.embeddings:
            self._send({"data": [{"embedding": [0.5, 0.5]}]})
        elif self.path == "/v1/rerank" and options.reranking:
            self._send({"results": [{"index": 0, "relevance_score": 0.9}]})
        elif self.path == "/v1/completions":
            self._answer(question, "text", str(question["prompt"]))
        elif self.path == "/v1/chat/completions":
            self._answer(question, "content", question["messages"][-1]["content"])
        else:
            self._send({"error": {"message": f"this model has no {self.path}"}}, 501)

    def _answer(self, question: dict[str, Any], field: str, asked: str) -> None:
        """The words of the question, turned round."""
        words = asked.split()[::-1] or ["!"]
        if not question.get("stream"):
            text = " ".join(words)
            choice = {"text": text} if field == "text" else {"message": {"content": text}}
            self._send({"choices": [choice], "usage": {"completion_tokens": 0 if options.say == "no-token" else len(words)}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if options.say in ("rubbish", "large"):
            self.wfile.write(b"<html>" if options.say == "rubbish" else b"data: " + bytes(2 << 20))
            return
        for number, word in enumerate(words):
            piece = word if number == 0 else f" {word}"
            choice = {"text": piece} if field == "text" else {"delta": {"content": piece}}
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.05 if word == "slowly" else 0)
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        if options.say != "silent":
            print(format % args, flush=True)


ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
