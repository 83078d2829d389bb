"""The command line for people: what there is, its options, and how it speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from smalt.cli import digests
from smalt.cli import push as pushing
from smalt.cli.errors import CommandFailed
from smalt.cli.kubectl import Kubectl

application = typer.Typer(
    help="Smalt: machine learning as Kubernetes objects. Everything else is kubectl's.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@application.command()
def push(
    path: Annotated[Path, typer.Argument(help="The file or folder to store.", metavar="FILE|DIR")],
    workspace: Annotated[str | None, typer.Option(help="The Workspace; the namespace's only one when absent.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The namespace; that of the kubeconfig's context when absent."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="The kubeconfig's context; the current one when absent.")] = None,
) -> None:
    """Store a file or folder in a Workspace, and print the YAML by which a run refers to it.

    What is stored is named by its digest: pushed again it is there already, and a push that broke off goes on. Of a
    folder, .git and __pycache__ are left out.
    """
    with _Bars() as bars:
        made = pushing.push(path, Kubectl.find(context, namespace), workspace, bars)
    typer.echo(pushing.as_yaml(made), nl=False)


@application.command()
def digest(
    path: Annotated[Path, typer.Argument(help="The file or folder.", metavar="FILE|DIR")],
) -> None:
    """Print the digest of a file or folder, as `digest` of an input, of code, or of a Model that is imported takes it.

    Of a folder, .git and __pycache__ are left out.
    """
    if not path.exists():
        raise CommandFailed(f"{path} does not exist: name a file or folder")
    with _Bars() as bars:
        printed = digests.digest_of(path, bars.step("reading", digests.size_of(path)))
    typer.echo(printed)


class _Bars:
    """Bars for whoever looks at a terminal, on the side, so that what is printed can be piped."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, what: str, total: int) -> Callable[[int], None]:
        task = self._progress.add_task(what, total=total)
        return lambda size: self._progress.advance(task, size)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def run(arguments: list[str]) -> int:
    """The exit code: 1 when a command could not do it, 2 when it was not understood."""
    try:
        code = typer.main.get_command(application).main(arguments, prog_name="python -m smalt", standalone_mode=False)
    except CommandFailed as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    except typer.Exit as ended:
        return int(ended.exit_code)
    except typer.Abort:
        return 130
    return int(code or 0)
