"""What is printed to ask an instance works as it stands, and `modelshelf run` asks it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.import_folder import import_folder
from flows.launch_instance import launch_instance
from modelshelf.catalog import instances, versions
from modelshelf.catalog.instances import Instance
from modelshelf.errors import NoWords, UnexpectedAnswer
from modelshelf.library import asking, running
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef
from modelshelf.states import InstanceState
from modelshelf.stop import StopToken
from tasks.library import working_on
from tests.making import P, gguf, stored_key, write

CHAT = InstanceName("chat")
TALKS = {"tokenizer.chat_template": "{{ messages }}"}


def launch(
    library: Library, tmp_path: Path, category: Any = "chat", key: str = "", arguments: Sequence[str] = (), **entries: str
) -> Instance:
    """An instance that serves a fresh model of that category, through the flows."""
    import asyncio

    folder = write(tmp_path / "tiny" / "tiny.gguf", gguf(**entries)).parent
    with working_on(library, "test"), stored_key(key):
        ref = asyncio.run(import_folder.fn(str(folder), category=category))
        asked = {"key": "door", "bind": "0.0.0.0"} if key else {}
        asyncio.run(launch_instance.fn(ref, "", str(CHAT), arguments=list(arguments), **asked))
    with library.catalog.reading() as connection:
        return instances.find(connection, P, CHAT)


def executed(command: str, **environment: str) -> Any:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True, env={**os.environ, **environment})
    return json.loads(done.stdout)


def modelshelf(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("modelshelf"))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize(
    ("category", "entries", "answer"),
    [
        ("chat", TALKS, r'"message": \{"content": "Hello!"\}'),
        ("chat", {}, r'"text": "Hello!"'),
        ("embedding", {}, r'"embedding": \[0.5, 0.5\]'),
        ("reranker", {}, r'"relevance_score": 0.9'),
    ],
    ids=["chat", "no template", "embedding", "reranker"],
)
def test_the_printed_curl_asks_what_the_category_answers(
    equipped: Library, tmp_path: Path, category: str, entries: dict[str, str], answer: str
) -> None:
    made = launch(equipped, tmp_path, category, **entries)
    assert re.search(answer, json.dumps(executed(asking.curl(made))))


def test_the_printed_curl_carries_the_key_and_has_an_address_that_can_be_used(equipped: Library, tmp_path: Path) -> None:
    made = launch(equipped, tmp_path, key="the-key", **TALKS)
    command = asking.curl(made)
    assert "the-key" not in command
    assert f"http://127.0.0.1:{made.port}/" in command
    assert executed(command, KEY="the-key")["choices"][0]["message"]["content"] == "Hello!"
    assert executed(command, KEY="another")["error"]["message"] == "Invalid API Key"
    shown = modelshelf("instances", "--json")
    assert json.loads(shown.stdout)[0]["curl"] == command


@pytest.mark.parametrize("entries", [TALKS, {}], ids=["chat", "no template"])
def test_run_prints_only_the_answer(equipped: Library, tmp_path: Path, entries: dict[str, str]) -> None:
    launch(equipped, tmp_path, **entries)
    asked = modelshelf("run", "tiny", "one two three")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "three two one\n", "")
    piped = modelshelf("run", "tiny", input="four five")
    assert (piped.returncode, piped.stdout) == (0, "five four\n")
    assert modelshelf("run", "tiny", input=" ").returncode == 2


def test_run_asks_with_the_instances_key(equipped: Library, tmp_path: Path) -> None:
    launch(equipped, tmp_path, key="the-key", **TALKS)
    assert modelshelf("run", "tiny", "one two").stdout == "two one\n"


def test_ctrl_c_ends_an_answer_and_leaves_the_instance(equipped: Library, tmp_path: Path) -> None:
    made = launch(equipped, tmp_path, **TALKS)
    program = str(Path(sys.executable).with_name("modelshelf"))
    asked = " ".join(["slowly"] * 1000)
    with subprocess.Popen([program, "run", "tiny", asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.read(6) == "slowly"
        child.send_signal(signal.SIGINT)
        said, errors = child.communicate(timeout=20)
    assert child.returncode == 130
    assert len(said) < len(asked)
    assert "Traceback" not in errors
    assert running.is_running(equipped, made)


@pytest.mark.parametrize(("say", "reason"), [("rubbish", "no event with words"), ("large", "an event has over")])
def test_an_answer_that_is_none_is_an_error(equipped: Library, tmp_path: Path, say: str, reason: str) -> None:
    instance = launch(equipped, tmp_path, arguments=["--say", say])
    with pytest.raises(UnexpectedAnswer, match=reason):
        answered(equipped, instance, "hello")


def test_half_a_character_is_printed_as_a_mark(equipped: Library, tmp_path: Path) -> None:
    assert answered(equipped, launch(equipped, tmp_path), "well \ud800") == "? well"


def answered(library: Library, instance: Instance, text: str) -> str:
    words: list[str] = []
    with library.catalog.reading() as connection:
        target = versions.get(connection, P, instance.serves[0].version_id)
    asking.ask(library, instance, target, text, tokens=8, stop=StopToken(), on_words=words.append)
    return "".join(words)


def test_a_model_that_answers_with_numbers_is_not_talked_to(equipped: Library, tmp_path: Path) -> None:
    made = launch(equipped, tmp_path, "embedding")
    with pytest.raises(NoWords) as refused:
        asking.serving_now(equipped, P, ModelRef.parse("tiny"))
    assert asking.curl(made) in str(refused.value)
    with equipped.catalog.reading() as connection:
        assert versions.find(connection, P, ModelRef.parse("tiny")).category == "embedding"


def test_the_reason_of_a_failed_instance_is_one_sentence_in_the_list_and_whole_elsewhere(
    equipped: Library, tmp_path: Path
) -> None:
    made = launch(equipped, tmp_path)
    reason = "llamacpp ended by itself (exit status 1) before it answered. Nothing is running. Its log: a | b"
    running.give_up(equipped, made, InstanceState.FAILED, reason, "test")
    assert "Nothing is running" not in modelshelf("ps").stdout
    assert "before it answered. It is started again" in modelshelf("ps").stdout
    assert json.loads(modelshelf("instances", "--json").stdout)[0]["reason"] == reason
    assert reason in modelshelf("explain", "tiny", "--in", "chat").stdout
