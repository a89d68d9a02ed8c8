"""`framemill doctor`: whether this machine is fit to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, print_table, printable
from framemill.errors import SetupError

if TYPE_CHECKING:
    from framemill.cluster.doctor import Finding


@click.command()
@click.option("--models", is_flag=True, help="Open every model too, and say where each one runs.")
@conventions
@click.pass_obj
def doctor(invocation: Invocation, /, models: bool) -> int:
    """Check whether this machine is fit to run.

    Python, packages, runtimes, GPU, memory, models and folders; exit 5 if anything fails. -v lists every
    package and model."""
    from framemill.cluster.doctor import run_checks

    findings = run_checks(models)
    if invocation.as_json:
        print_json(findings)
    else:
        if invocation.verbosity >= 0:
            print_table(("", ""), _fine(findings, in_full=invocation.verbosity > 0))
        _print_problems(findings, in_full=invocation.verbosity > 0)
    return SetupError.exit_code if any(f["status"] == "fail" for f in findings) else 0


def _fine(findings: Sequence[Finding], in_full: bool) -> list[tuple[str, str]]:
    """What is in order; packages and models as one line each, at the place of their first."""
    from framemill.cluster.doctor import REQUIRED

    rows: dict[str, str] = {}
    models = [finding for finding in findings if finding["check"].startswith("model ")]
    packages = [finding for finding in findings if finding["check"] in REQUIRED]
    for finding in findings:
        if in_full or not (finding in models or finding in packages):
            if finding["status"] == "ok":
                rows[finding["check"]] = "; ".join(filter(None, (finding["detail"], finding["remedy"])))
        elif finding in packages:
            there = [each for each in packages if each["status"] == "ok"]
            rows["packages"] = f"{len(there)} of {len(packages)} that are needed are installed"
        else:
            num_here = sum(each["status"] == "ok" for each in models)
            num_absent = sum(_is_absent_model(each) for each in models)
            absent = f"; {num_absent} optional ones are not (framemill models list)" if num_absent else ""
            rows["models"] = f"{num_here} are here{absent}"
    return list(rows.items())


def _print_problems(findings: Sequence[Finding], in_full: bool) -> None:
    """Each in whole, with what to do: a line that is cut helps nobody."""
    for finding in findings:
        if finding["status"] == "ok" or (_is_absent_model(finding) and not in_full):
            continue
        click.echo()
        click.secho(printable(f"{finding['status']}: {finding['check']}: {finding['detail']}"), bold=True)
        if finding["remedy"]:
            click.echo(printable(f"  {finding['remedy']}"))


def _is_absent_model(finding: Finding) -> bool:
    from framemill.cluster.doctor import ABSENT

    return finding["check"].startswith("model ") and finding["detail"].startswith(ABSENT)
