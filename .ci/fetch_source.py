"""Fetch a package's source as its index has it, unbuilt: `fetch_source.py NAME VERSION SHA256 FOLDER`.

`pip download` would build its metadata first, which for some packages takes gigabytes of others.
"""

import hashlib
import json
import os
import sys
import urllib.parse
import urllib.request
from pathlib import Path

from pip._internal.models.index import PyPI

name, version, sha256, folder = sys.argv[1:]
index = f"{os.environ.get('PIP_INDEX_URL', PyPI.simple_url).rstrip('/')}/{name}/"
asked = urllib.request.Request(index, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
with urllib.request.urlopen(asked) as answer:
    files = json.load(answer)["files"]
wanted = next(file for file in files if file["filename"] == f"{name}-{version}.tar.gz")
with urllib.request.urlopen(urllib.parse.urljoin(index, wanted["url"])) as answer:
    content = answer.read()
if hashlib.sha256(content).hexdigest() != sha256:
    sys.exit(f"{wanted['filename']} has another digest than {sha256}")
(Path(folder) / wanted["filename"]).write_bytes(content)
