"""`framemill doctor`: whether this machine is fit to run."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, print_table
from framemill.errors import SetupError


@click.command()
@click.option("--models", is_flag=True, help="Open every model too, and say where each one runs.")
@conventions
@click.pass_obj
def doctor(invocation: Invocation, /, models: bool) -> int:
    """Check whether this machine is fit to run.

    Python, packages, runtimes, GPU, memory, models and folders; exit 5 if anything fails."""
    from framemill.cluster.doctor import run_checks

    findings = run_checks(models)
    if invocation.as_json:
        print_json(findings)
    else:
        columns = ("check", "status", "detail", "remedy")
        shown = [f for f in findings if invocation.verbosity >= 0 or f["status"] != "ok"]
        print_table(columns, [[finding[name] for name in columns] for finding in shown])
    return SetupError.exit_code if any(f["status"] == "fail" for f in findings) else 0
