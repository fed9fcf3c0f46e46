#!/usr/bin/env python3
"""Starts a tree of processes as vLLM does, prints their ids, and waits. Takes `llama-server`'s arguments and ignores them.

`--children N`: that many; `--bare`: they lose their environment, as a process does that writes its title over it;
`--apart`: each is in a session of its own; `--deaf`: they ignore SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--children", type=int, default=2)
for flag in ("--bare", "--apart", "--deaf", "--first-thread-ends"):
    parser.add_argument(flag, action="store_true")
options, _ = parser.parse_known_args()
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if options.deaf else ""
command = [sys.executable, "-c", f"{deaf}print('up', flush=True); import time; time.sleep(600)"]
children = [
    subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"]} if options.bare else None,
        start_new_session=options.apart,
        stdout=subprocess.PIPE,
    )
    for _ in range(options.children)
]
for child in children:
    assert child.stdout is not None
    child.stdout.readline()
print("tree", os.getpid(), *(child.pid for child in children), flush=True)
if options.first_thread_ends:
    import ctypes

    threading.Thread(target=threading.Event().wait, args=(600,)).start()
    ctypes.CDLL(None).pthread_exit(None)
signal.pause()
