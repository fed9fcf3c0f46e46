"""The command that asks a model."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import InstanceName, ModelRef, ProjectName

if TYPE_CHECKING:
    from modelshelf.catalog.instances import Instance
    from modelshelf.catalog.versions import Version
    from modelshelf.library.opening import Library

_QUESTION_BYTES = 16 << 20


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@click.argument("question", required=False)
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="The most tokens in the answer.")
@options.project
@new_home.answered(new_home.no_model("model"))
def run(model: ModelRef, question: str | None, max_tokens: int, project: ProjectName) -> None:
    """Ask a model a question, and print the answer as it comes.

    Without QUESTION, the question is read from standard input. If no instance serves the model, one is launched, and keeps
    running afterwards. Only the answer goes to standard output.

    \b
    Examples:
      modelshelf run qwen3:0.6b "Why is the sky blue?"
      git diff | modelshelf run qwen3:0.6b > summary.txt
    """
    from modelshelf.library import asking
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings

    library = Library.open(load_settings())
    target, instance = asking.serving_now(library, project, model)
    text = _question(question)
    if instance is None:
        instance = _launched(library, target, project)
    _answer(library, instance, target, text, max_tokens)


COMMANDS = (run,)


def _question(given: str | None) -> str:
    if given is None and sys.stdin.isatty():
        raise click.UsageError("Give a question, or pipe one in.")
    text = given if given is not None else sys.stdin.buffer.read(_QUESTION_BYTES + 1).decode(errors="replace")
    if len(text) > _QUESTION_BYTES:
        raise click.UsageError(f"The question is longer than {_QUESTION_BYTES} bytes.")
    if not text.strip():
        raise click.UsageError("The question is empty.")
    return text


def _launched(library: Library, target: Version, project: ProjectName) -> Instance:
    """Launch an instance that serves the version; its progress goes to stderr."""
    from modelshelf.catalog import instances
    from modelshelf.cli import follow

    parameters: dict[str, Any] = {"model": str(target.ref), "project": str(project)}
    plan = follow.run(Deployment.LAUNCH_INSTANCE, parameters, wait=True, as_json=False)
    assert plan is not None
    with library.catalog.reading() as connection:
        return instances.find(connection, project, InstanceName(plan["instance"]))


def _answer(library: Library, instance: Instance, target: Version, text: str, tokens: int) -> None:
    """Print the answer as it comes. Ctrl-C ends it: the engine is told by the connection that closes."""
    from modelshelf.errors import outcome
    from modelshelf.library import asking
    from modelshelf.stop import Stopped, StopToken
    from modelshelf.words import plain_lines

    stop = StopToken()
    to_people = sys.stdout.isatty()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())

    def on_words(words: str) -> None:
        click.echo(plain_lines(words) if to_people else words, nl=False)
        sys.stdout.flush()

    try:
        with outcome(f"{instance.name} keeps serving: see `modelshelf logs {instance.name}`.", again="Ask again."):
            asking.ask(library, instance, target, text, tokens=tokens, stop=stop, on_words=on_words)
    except Stopped as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)
        click.echo()
