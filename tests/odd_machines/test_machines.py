"""Machines where something is missing that most have: the command works there, or says what to do."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.cluster.extraction import PROJECT, extract, render_clip, statuses, tables_of

EXTRACT = ("extract", "clips", "-o", "out", "--ops", "media,frames,scenes,audio_levels", "-q")
_PR_CAPBSET_DROP = 24
_OVERRIDES = (0, 1, 2, 3)  # rights of root over files of others: chown, both overrides, fowner


def without_overrides() -> None:
    """In a child that begins as root: it may not do with files of others what only root may."""
    for right in _OVERRIDES:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips/` and `out/`, the result of an undisturbed run."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "clips").mkdir()
    render_clip(folder / "clips" / "a.mp4", seed=1, seconds=2.0)
    extract(folder / "clips", out=folder / "out")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A current folder with the clips alone; runs say what the whole path is, so they are the same files."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "clips").symlink_to(made / "clips")
    return tmp_path / "here"


def run(
    *arguments: str, at: Path, env: Mapping[str, str | None] = {}, python: Sequence[str] = (),
    before: Sequence[str] = (), preexec: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Runs the command.

    Args:
        at: the current folder. env: what is other in the environment, None for what is not in it.
        python: options of the interpreter. before: a command line that runs what follows it.
    """
    environ = {"PYTHONPATH": str(PROJECT), **os.environ, **{k: v for k, v in env.items() if v is not None}}
    for name in [name for name, value in env.items() if value is None]:
        environ.pop(name, None)
    line = [*before, sys.executable, *python, "-m", "framemill", *arguments]
    return subprocess.run(
        line,
        cwd=at,
        env=environ,
        preexec_fn=preexec,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def in_namespace(script: str) -> list[str]:
    """Before a command: mounts of its own, made by a script; skips where the machine forbids them."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mounts of one's own (unshare -m)")
    return ["unshare", "-m", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


def sealed(folder: Path) -> str:
    """Lines of a script after which nothing but one folder can be written."""
    return f"""
    mount --make-rprivate /
    mount --bind {folder} {folder}
    for place in /tmp /var/tmp /dev/shm; do
        mount --rbind $place $place
        mount -o remount,bind,ro $place
    done
    """


def same_rows(out: Path, made: Path) -> bool:
    """Whether a run has made the rows of an undisturbed one, but for the paths in `media`."""
    tables, wanted = tables_of(out), tables_of(made / "out")
    return {**tables, "media": statuses(out)} == {**wanted, "media": statuses(made / "out")}


def odd(**cases: Mapping[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases.values()), ids=list(cases))


C = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@odd(
    no_home={"env": {"HOME": None, "XDG_CACHE_HOME": None}},
    home_is_not_there={"env": {"HOME": "/nonexistent/home"}},
    locale_c={"env": C},
    locale_posix={"env": {"LANG": "POSIX", "LC_ALL": "POSIX"}},
    zone_of_a_quarter={"env": {"TZ": "Asia/Kathmandu"}},
    zone_of_a_week={"env": {"TZ": "XXX+167:59:59"}},
    temporary_folder_is_not_there={"env": {"TMPDIR": "/nonexistent/tmp"}},
    optimized={"python": ["-OO"]},
    few_descriptors={"preexec": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))},
)
def test_an_odd_environment_gives_the_same_rows(made: Path, here: Path, case: Mapping[str, object]) -> None:
    done = run(*EXTRACT, at=here, **case)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert same_rows(here / "out", made)


@pytest.mark.slow
@odd(
    little_shared_memory={"script": "mount -t tmpfs -o size=64m none /dev/shm"},
    no_shared_memory={"script": "mount -t tmpfs -o ro none /dev/shm"},
    full_cache={
        "script": "mkdir cache; mount -t tmpfs -o size=64k none cache; head -c 99999 /dev/zero > cache/x ||:",
        "env": {"FRAMEMILL_CACHE_DIR": "cache"},
    },
    read_only_packages={
        "script": f"mount --bind {PROJECT} {PROJECT}; mount -o remount,bind,ro {PROJECT}",
        "env": {"PYTHONDONTWRITEBYTECODE": "1"},
    },
)
def test_a_machine_with_other_mounts_gives_the_same_rows(
    made: Path, here: Path, case: Mapping[str, object]
) -> None:
    before = in_namespace(str(case["script"]))
    done = run(*EXTRACT, at=here, before=before, env=case.get("env", {}))  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert same_rows(here / "out", made)


@pytest.mark.slow
def test_a_read_only_current_folder_does_not_matter(made: Path, here: Path, tmp_path: Path) -> None:
    before = in_namespace(f"mount --bind {here} {here}; mount -o remount,bind,ro {here}; cd {here}")
    done = run("extract", "clips", "-o", str(tmp_path / "out"), *EXTRACT[4:], at=here, before=before)
    assert done.returncode == 0, done.stderr
    assert same_rows(tmp_path / "out", made)


@pytest.mark.slow
def test_without_any_place_for_temporary_files_it_says_how_to_name_one(made: Path, here: Path) -> None:
    other = here / "other"
    other.mkdir()
    # The current folder is the last that Python tries: it is one that cannot be written, too.
    before = in_namespace(f"{sealed(other)}\ncd /proc")
    env = {"TMPDIR": None}
    sql = ("sql", str(made / "out"), "SELECT count(*) FROM media")
    for arguments in (("extract", str(made / "clips"), "-o", str(other / "out")), sql):
        done = run(*arguments, at=here, before=before, env=env)
        assert done.returncode == 5 and "TMPDIR" in done.stderr, done.stderr
    named = run(*sql, at=here, before=before, env={"TMPDIR": str(other)})
    assert named.returncode == 0, named.stderr
    assert "temporary files" in run("doctor", at=here, before=before, env=env).stdout


def test_a_current_folder_that_is_gone_is_told(here: Path) -> None:
    before = ["sh", "-ec", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh"]
    done = run("extract", "clips", "-o", "out", at=here, before=before)
    assert done.returncode == 5
    assert "the current folder is not there any more: change to another" in done.stderr


@pytest.mark.slow
def test_a_limit_of_64_open_files_fails_none_of_a_hundred(made: Path, here: Path) -> None:
    clip = (made / "clips" / "a.mp4").read_bytes()
    (here / "many").mkdir()
    for number in range(100):
        (here / "many" / f"{number}.mp4").write_bytes(clip + b"\0\0\0\x08free" * number)
    done = run(
        "extract", "many", "-o", "out", "--ops", "media", "-q", at=here,
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(statuses(here / "out")) == 100


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of another user, which only root could change."""
    if os.geteuid():
        pytest.skip("only root can make folders of others")
    folder = tmp_path / "others"
    folder.mkdir()
    return folder


def give_away(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)


@pytest.mark.slow
def test_results_of_another_user_can_be_read_and_not_be_added_to(made: Path, others: Path) -> None:
    out = others / "out"
    shutil.copytree(made / "out", out)
    give_away(others)
    sources = str(made / "clips")
    done = run(
        "extract", sources, "-o", str(out), "--ops", "media,speech", at=others, preexec=without_overrides
    )
    assert done.returncode == 1 and "Permission denied" in done.stderr and "is writable" in done.stderr
    new = run("extract", sources, "-o", str(others / "new"), at=others, preexec=without_overrides)
    assert new.returncode == 2 and "new cannot be made (Permission denied): choose" in new.stderr
    for arguments in (("sql", "out", "FROM media"), ("status", "out"), ("shots", "out"), ("check", "out")):
        read = run(*arguments, at=others, preexec=without_overrides)
        assert read.returncode == 0, read.stderr


@pytest.mark.slow
def test_a_folder_that_cannot_be_listed_is_a_row_of_errors_and_no_silence(
    made: Path, others: Path, here: Path
) -> None:
    (others / "inner").mkdir()
    shutil.copy(made / "clips" / "a.mp4", others)
    give_away(others)
    (others / "inner").chmod(0)
    done = run("extract", str(others), *EXTRACT[2:-1], at=here, preexec=without_overrides)
    assert done.returncode == 3, done.stderr
    assert f"{others}/inner: a folder that this user may not list" in done.stdout
    assert set(statuses(here / "out")) == {"a.mp4"}
