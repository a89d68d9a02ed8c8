"""Ray as a person runs it: the command line, a submitted job, and what is refused before any work."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks.machines import free_ports
from framemill.errors import SetupError
from tests.cluster.engines.ray.ray_local import extract_on_ray, slow_down, small_ray
from tests.cluster.engines.ray.ray_watching import MOST_SECONDS, seconds_beyond_start
from tests.cluster.extraction import OPS, PROJECT, extract, num_runs, rows_of, tables_of
from tests.plugged import example

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
RAY = str(Path(sys.executable).with_name("ray"))
START_SECONDS = 180
STOPPED_FILES = 40


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """Environment for commands against a head that was started as the README says, on ports of its own."""
    port, dashboard, client, agent, runtime, http = free_ports(6)
    # Sockets have short names: the usual temporary folder of a test is too long.
    folder = tempfile.mkdtemp(prefix="fm-", dir="/tmp")
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [
        RAY, "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={http}", f"--dashboard-agent-grpc-port={agent}",
        f"--runtime-env-agent-port={runtime}", f"--temp-dir={folder}", "--num-cpus=4",
        "--disable-usage-stats",
    ]  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    asked = [RAY, "job", "list", "--address", address]
    deadline = time.monotonic() + START_SECONDS
    started = None
    try:
        while started is None or subprocess.run(asked, env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline, "the head did not start"
            if started is None or started.poll() is not None:
                # Ray gives a node 30 s to start, which is little on a busy machine.
                if started is not None:
                    _end(started)
                started = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
            time.sleep(1)
        yield {**environment, "JOBS": address, "GCS": f"127.0.0.1:{port}"}
    finally:
        if started is not None:
            _end(started)
        shutil.rmtree(folder, ignore_errors=True)


def _end(started: subprocess.Popen[bytes]) -> None:
    """Every process of the head is in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(20)


def _submit(
    head: dict[str, str], *line: Path | str, folder: Path = PROJECT, module: str = "cluster"
) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", head["JOBS"], "--working-dir", ".", "--", "python", "-m"]
    return subprocess.run(
        [*command, module, *map(str, line)],
        cwd=folder,
        env=head,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )


def test_a_submitted_job(head: dict[str, str], clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--ops", ",".join(OPS), "--actors", "2", "--actor-cpus", "1")
    done = _submit(head, "extract", clips, "-o", out, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 files: 3 computed" in done.stdout
    extract(clips, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")
    assert {row["engine"] for row in rows_of(out, "runs")} == {"ray"}
    again = _submit(head, "extract", clips, "-o", out, *asked)
    assert again.returncode == 0 and "3 already there" in again.stdout
    assert num_runs(out) == 1
    # Exit codes arrive, as the last line of what the job said at least.
    relative = _submit(head, "extract", clips, "-o", "results", *asked)
    assert relative.returncode != 0
    assert "relative path" in relative.stdout and re.search(r"exit code 5|code:? 5", relative.stdout)


def test_an_operation_of_a_users_own_travels_in_the_working_dir(
    head: dict[str, str], clips: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "project", tmp_path / "out"
    folder.mkdir()
    (folder / "darkness.py").write_text(example())
    asked = ("extract", clips, "-o", out, "--ops", "media,darkness:Darkness", "--actors", "2")
    done = _submit(head, *asked, "--actor-cpus", "1", folder=folder, module="framemill")
    assert done.returncode == 0 and "3 files: 3 computed" in done.stdout, done.stdout + done.stderr
    assert {row["frame_index"] for row in rows_of(out, "darkness")} == {0, 12, 24, 36}
    again = _submit(head, *asked, "--actor-cpus", "1", folder=folder, module="framemill")
    assert again.returncode == 0 and "3 already there" in again.stdout, again.stdout + again.stderr


def test_a_job_that_is_stopped_commits_what_is_finished(
    head: dict[str, str], clips: Path, tmp_path: Path
) -> None:
    videos, out, submission = tmp_path / "videos", tmp_path / "out", "stopped"
    videos.mkdir()
    for number in range(STOPPED_FILES):
        (videos / f"{number}.mkv").write_bytes((clips / "c.mkv").read_bytes() + b"\xec\x81\0" * number)
    job = [RAY, "job", "submit", "--address", head["JOBS"], "--no-wait", "--submission-id", submission]
    variables = {"env_vars": {"PYTHONPATH": str(slow_down(tmp_path))}}
    job += ["--working-dir", ".", "--runtime-env-json", json.dumps(variables), "--"]
    line = ["extract", str(videos), "-o", str(out), "--ops", "media,frames", "--actors", "1"]
    subprocess.run(
        [*job, "python", "-m", "cluster", *line],
        cwd=PROJECT, env=head, check=True, capture_output=True, timeout=MOST_SECONDS,
    )  # fmt: skip
    deadline = time.monotonic() + MOST_SECONDS
    while not any(out.glob("media/*.parquet")):
        assert time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.1)
    known = {"env": head, "capture_output": True, "text": True, "timeout": MOST_SECONDS}
    subprocess.run([RAY, "job", "stop", "--address", head["JOBS"], submission], check=True, **known)
    said = subprocess.run([RAY, "job", "logs", "--address", head["JOBS"], submission], **known).stdout
    assert "interrupted: committing what is finished" in " ".join(said.split()), said
    assert [word for word in ("SIGTERM received", "Traceback", "Fatal") if word in said] == [], said
    assert [row["exit_code"] for row in rows_of(out, "runs")] == [143]
    done = len(rows_of(out, "media"))
    assert 0 < done < STOPPED_FILES
    resumed = extract(videos, out=out, ops=("media", "frames"))
    assert (resumed.files_cached, resumed.files_computed) == (done, STOPPED_FILES - done)


def test_failures_of_a_submitted_job_may_be_tolerated(
    head: dict[str, str], clips: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    (videos / "bad.mp4").write_bytes(b"nothing that anybody could play" * 200)
    asked = (
        "extract",
        videos,
        "-o",
        tmp_path / "out",
        "--ops",
        "media",
        "--actors",
        "1",
        "--actor-cpus",
        "1",
    )
    done = _submit(head, *asked, "--tolerate-failures", "25%")
    assert done.returncode == 0 and "1 file failed or partial: tolerated" in done.stdout, done.stdout
    assert _submit(head, *asked).returncode != 0


def test_an_address_and_two_jobs_at_once(head: dict[str, str], clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = [
        sys.executable, "-m", "framemill", "extract", str(clips), "-o", str(out), "--ops", ",".join(OPS),
        "--address", head["GCS"], "--actors", "1", "--actor-cpus", "1",
    ]  # fmt: skip
    both = [
        subprocess.Popen(
            line, cwd=PROJECT, env=head, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [run.communicate(timeout=MOST_SECONDS) for run in both]
    assert [run.returncode for run in both] == [0, 0], said
    assert num_runs(out) == 1
    extract(clips, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")
    noise = [line for _, err in said for line in err.splitlines() if "ray" in line.lower()]
    assert noise == [], "Ray's own words do not reach the terminal"


def test_two_submitted_jobs_at_once(head: dict[str, str], clips: Path, tmp_path: Path) -> None:
    """Each has files of its own and some that the other has, too; the second plans again after the first."""
    out = tmp_path / "out"
    files = sorted(clips.iterdir())
    asked = ("-o", out, "--ops", ",".join(OPS), "--actors", "1", "--actor-cpus", "1", "--stall-after", "600")
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(_submit, head, "extract", *some, *asked) for some in (files[:2], files[1:])]
        done = [one.result() for one in both]
    assert [one.returncode for one in done] == [0, 0], [one.stdout + one.stderr for one in done]
    counts = [re.search(r"2 files: (.*)", one.stdout) for one in done]
    told = sorted(found[1] for found in counts if found)
    assert told == ["1 computed, 1 already there", "2 computed"], [one.stdout for one in done]
    extract(clips, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")
    assert num_runs(out) == 2


def test_no_cluster_at_that_address(clips: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    line = [sys.executable, "-m", "framemill", "extract", str(clips), "-o", str(tmp_path / "out")]
    started = time.monotonic()
    run = subprocess.run(
        [*line, "--address", f"127.0.0.1:{port}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert run.returncode == 5, run.stderr
    assert "no Ray cluster at" in run.stderr and seconds_beyond_start(started) < 20


@pytest.mark.parametrize(
    ("scheme", "key", "code", "said"),
    [
        ("", "JOBS", 5, "another kind of server listens there, such as the dashboard"),
        ("http://", "JOBS", 2, "give HOST:PORT of the cluster's head"),
        ("ray://", "GCS", 2, "give HOST:PORT of the cluster's head"),
    ],
)
def test_addresses_of_something_else(
    head: dict[str, str], clips: Path, tmp_path: Path, scheme: str, key: str, code: int, said: str
) -> None:
    address = scheme + head[key].removeprefix("http://")
    line = [sys.executable, "-m", "framemill", "extract", str(clips), "-o", str(tmp_path / "out")]
    started = time.monotonic()
    run = subprocess.run(
        [*line, "--address", address],
        cwd=PROJECT,
        env=head,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert run.returncode == code and said in " ".join(run.stderr.split()), run.stderr
    assert seconds_beyond_start(started) < 20


def test_what_would_hang_is_refused(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from framemill.cluster.engines.ray import preflight as ray_cluster

    with pytest.raises(SetupError, match=r"'out' is a relative path"):
        extract_on_ray(clips, out=Path("out"), address="127.0.0.1:1")
    with small_ray():
        for asked, said in (
            ({"actor_gpus": 1.0}, "1 GPUs, and the cluster has 0"),
            ({"actors": "8"}, "do not fit"),
            ({"actor_cpus": 16.0, "actors": ""}, "do not fit"),
        ):
            started = time.monotonic()
            with pytest.raises(SetupError, match=said):
                extract_on_ray(clips, out=tmp_path / "out", **asked)
            assert time.monotonic() - started < 20
        with monkeypatch.context() as patch:
            patch.setattr(ray_cluster, "code_digest", lambda: "other")
            with pytest.raises(SetupError, match="another Framemill is installed on node"):
                extract_on_ray(clips, out=tmp_path / "out")
        with monkeypatch.context() as patch:
            # As where the output is no shared folder: what the driver wrote is not to be seen.
            patch.setattr(Path, "write_text", lambda self, text: len(text))
            with pytest.raises(SetupError, match="every node mounts at the same path"):
                extract_on_ray(clips, out=tmp_path / "out")
        assert extract_on_ray(clips, out=tmp_path / "out").exit_code == 0
