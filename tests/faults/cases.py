"""A run with a fault, what it left, and the same command once more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import framemill
from framemill.cluster.results import layout
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import open_root, remove_tree
from tests.faults.processes import Ended, read_calls, run
from tests.faults.seam import KINDS, Call, Fault, Kind, applies

AT_ONCE = 3  # runs beside each other: they wait for each other's processes more than they compute
# Exit codes of a run that met a fault: none, told of the storage, an input that could not be read, a store
# that does not answer.
FORESEEN = (0, 1, 3, 4, 5)
UNFORESEEN = ("Traceback", "not foreseen")  # in what it says

Tables = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is run.

    Attributes:
        name: as the table shows it. sources: files. arguments: of `extract`, beside sources and output.
        base: where the folder of each run lies. before: arguments of a run that came earlier, undisturbed.
        shard_seconds: longer sources are divided; 0 leaves that to the run.
        out: gives the output of a run from its folder; None for `out` in it.
    """

    name: str
    sources: Sequence[Path]
    arguments: Sequence[str]
    base: Path
    before: Sequence[str] = ()
    shard_seconds: float = 0.0
    out: Callable[[Path], str] | None = None

    def prepare(self, name: str) -> Place:
        """A folder for a run, with the sources in it, and results where some came earlier."""
        place = Place(self, self.base / name)
        for folder in ("in", "tmp"):
            (place.folder / folder).mkdir(parents=True)
        for source in self.sources:
            shutil.copy(source, place.folder / "in")
        if self.shard_seconds:
            Dataset.open(place.out, create=True, constants={"shard_seconds": self.shard_seconds})
        if self.before:
            ended = place.extract(arguments=self.before)
            assert ended.code == 0, ended.said
        return place


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run of a scenario takes place."""

    scenario: Scenario
    folder: Path

    @property
    def out(self) -> str:
        return self.scenario.out(self.folder) if self.scenario.out else str(self.folder / "out")

    def extract(self, fault: Fault | None = None, arguments: Sequence[str] = (), **recorded: Path) -> Ended:
        """Runs the command."""
        sources = [str(self.folder / "in" / source.name) for source in self.scenario.sources]
        rest = arguments or self.scenario.arguments
        return run(["extract", *sources, "-o", self.out, *rest, "-q"], self.folder, fault, **recorded)

    def remove(self) -> None:
        """Takes it away."""
        remove_tree(open_root(self.out))
        shutil.rmtree(self.folder)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the undisturbed run did: the rows it left, and its calls, those of each process in order."""

    tables: Tables
    calls: Mapping[str, Sequence[Call]]

    def faults(self, kinds: Sequence[Kind] = KINDS, role: str = "") -> list[tuple[Fault, Call]]:
        """Each kind of fault at every call that it can happen to, of one process or of both."""
        return [
            (Fault(whose, number, kind), call)
            for whose, calls in self.calls.items()
            for number, call in enumerate(calls)
            for kind in kinds
            if applies(kind, call) and role in ("", whose)
        ]


def undisturbed(scenario: Scenario) -> Expected:
    """Runs a scenario without a fault."""
    place, log = scenario.prepare("undisturbed"), scenario.base / "calls"
    ended = place.extract(log=log)
    assert ended.code == 0, ended.said
    calls: dict[str, list[Call]] = {"supervisor": [], "worker": []}
    for call in read_calls(log):
        calls[call.role].append(call)
    tables = tables_in(place)
    place.remove()
    return Expected(tables, calls)


def tables_in(place: Place) -> Tables:
    """Every table but `runs`, and asserts that nothing is left over of a run that ended."""
    results = framemill.open(place.out)
    tables = {}
    for name in sorted(set(results.tables()) - {"runs"}):
        rows = results.table(name).to_pylist()
        for row in rows:
            if "uri" in row:
                row["uri"] = Path(row["uri"]).name
        if rows:
            tables[name] = sorted(rows, key=repr)
    assert_whole(place.out)
    assert not leftovers(place.out), leftovers(place.out)
    return tables


def assert_whole(out: str) -> None:
    """The folder opens, every committed row keeps the promises, and no glob finds a torn file."""
    dataset = Dataset.open(out, create=False)
    broken: list[Any] = []
    check_folder(dataset, broken.append)
    assert not broken, broken
    if not isinstance(dataset.root, RemotePath):
        for path in dataset.root.glob("*/*.parquet"):
            pq.ParquetFile(path).read()


def leftovers(out: str) -> list[str]:
    """Files in a result folder at rest that no commit names."""
    dataset = Dataset.open(out, create=False)
    root = dataset.root
    known = {f"{table}/{name}" for table, name in dataset.state.parts}
    if isinstance(root, RemotePath):
        there = [name for name, _, _ in root.list_inside()]
    else:
        there = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    system = f"{layout.SYSTEM_FOLDER}/"
    return [
        name
        for name in there
        if name not in known
        and name not in (f"{system}dataset.json", f"{system}lease.lock")
        and not (name.startswith((f"{system}commits/0", f"{system}lease/")) and name.endswith(".json"))
    ]


def miss(scenario: Scenario, expected: Expected, fault: Fault, call: Call) -> str:
    """What went wrong after a fault, in a line; empty where nothing did."""
    place = scenario.prepare(f"{fault.role}-{fault.number}-{fault.kind.replace('/', '-')}")
    about = f"{fault.kind} at call {fault.number} of the {fault.role}, {call.name} {call.path}"
    ended = place.extract(fault)
    problem = _problem(place, expected, fault, ended)
    if not problem:
        place.remove()
    return problem and f"{scenario.name}: {about}: {problem}"


def _problem(place: Place, expected: Expected, fault: Fault, ended: Ended) -> str:
    if not ended.has_struck:
        return "the run never came to that call"
    if ended.code is None:
        return "the run hung"
    if ended.code < 0 and (fault.kind not in ("crash", "torn write") or fault.role == "worker"):
        return f"the run died of signal {-ended.code}"
    is_foreseen = ended.code in FORESEEN and not any(word in ended.said for word in UNFORESEEN)
    if ended.code >= 0 and not is_foreseen:
        return f"exit code {ended.code}, and it said {ended.said.strip()[-500:]}"
    if ended.code == 1 and not ended.said.strip():
        return "exit code 1 without a word"
    try:
        marker = layout.dataset_file(open_root(place.out))
        if marker.exists():
            assert_whole(place.out)
        again = place.extract()
        if again.code != 0:
            return f"the same command ended with {again.code}: {again.said.strip()[-500:]}"
        found = tables_in(place)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    different = [name for name in {*found, *expected.tables} if found.get(name) != expected.tables.get(name)]
    return f"other rows than undisturbed in {', '.join(sorted(different))}" if different else ""


def misses(scenario: Scenario, expected: Expected, faults: Sequence[tuple[Fault, Call]]) -> list[str]:
    """What went wrong after each of some faults, where something did."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda each: miss(scenario, expected, *each), faults)
        return [line for line in found if line]
