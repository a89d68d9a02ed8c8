"""`framemill completion`: what makes a shell complete commands, options and their values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    shell_complete,
    split_arg_string,
)

from framemill.cluster.cli.output import COMPLETION_VARIABLE, conventions

SHELLS = {
    "bash": 'eval "$(framemill completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(framemill completion zsh)"   in ~/.zshrc, after compinit',
    "fish": "framemill completion fish > ~/.config/fish/completions/framemill.fish",
}
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(epilog="\b\n" + "\n".join(SHELLS.values()))
@click.argument("shell", type=click.Choice(list(SHELLS)))
@conventions
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and their values in SHELL: bash, zsh or fish. To have it in every new
    shell, put the line below where it says.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "framemill", COMPLETION_VARIABLE).source())


def answer_shell(cli: click.Command, instruction: str) -> int:
    """Answers the script above, which calls `framemill` with `COMPLETION_VARIABLE` set to the instruction."""
    return shell_complete(cli, {}, "framemill", COMPLETION_VARIABLE, instruction)


class _OrFiles(ShellComplete):
    """Where nothing else is known, as for sources and result folders, the names of files complete."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        items = super().get_completions(args, incomplete)
        return items or ([] if incomplete.startswith("-") else [CompletionItem(incomplete, type="file")])


@add_completion_class
class _Zsh(_OrFiles, ZshComplete):
    name = "zsh"


@add_completion_class
class _Fish(_OrFiles, FishComplete):
    name = "fish"


@add_completion_class
class _Bash(_OrFiles, BashComplete):
    """Bash parts words at `=` and `:` too: it hands over the line, and gets what follows the last of them."""

    name = "bash"
    source_template = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    compopt +o nospace
    while IFS=, read -r type value; do
        case $type in
            '') ;;
            file) compopt -o default ;;
            open) compopt -o nospace; COMPREPLY+=("$value") ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:$COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        self._incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words, self._incomplete

    def format_completion(self, item: CompletionItem) -> str:
        breaks = re.escape("".join(c for c in os.environ.get("COMP_WORDBREAKS", "=:") if c in "=:"))
        parts = re.split(f"[{breaks}]", self._incomplete) if breaks else [self._incomplete]
        told = len(self._incomplete) - len(parts[-1])
        kind = "open" if item.type == "plain" and str(item.value).endswith(("=", ":", ".")) else item.type
        return f"{kind},{str(item.value)[told:]}"

    def source(self) -> str:
        # That of the base class starts bash to see its version; ours works from 4.4 on, and says nothing.
        return self.source_template % self.source_vars()


def of(values: Callable[[], Iterable[str]]) -> Complete:
    """Completes one of some values."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(value) for value in values() if value.startswith(incomplete)]

    return complete


def listed(values: Callable[[], Iterable[str]]) -> Complete:
    """Completes the last of several values with commas between them."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        given = set(before.split(","))
        return [
            CompletionItem(f"{before}{comma}{value}")
            for value in values()
            if value.startswith(last) and value not in given
        ]

    return complete


def operations() -> Iterable[str]:
    """Names of operations."""
    from framemill.ops import OPS

    return OPS


def models() -> Iterable[str]:
    """Names of models in the registry."""
    from framemill.models.registry import all_entries

    return dict.fromkeys(entry.name for entry in all_entries())


def roles() -> Iterable[str]:
    """What models are used for."""
    from framemill.models.registry import all_entries

    return dict.fromkeys(entry.role for entry in all_entries())


def models_of_roles() -> Iterable[str]:
    """ROLE=NAME for each model in the registry."""
    from framemill.models.registry import all_entries

    return [f"{entry.role}={entry.name}" for entry in all_entries()]
