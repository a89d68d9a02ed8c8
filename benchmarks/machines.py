"""A Ray cluster of several machines on this one: each has processes of its own, and a network where it may.

With the rights for it, every machine gets a network namespace on a bridge, with an address and all ports of
its own. Without, they all share the loopback address, each on ports of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.harness import REPOSITORY
from benchmarks.processes import descendants

RAY = str(Path(sys.executable).with_name("ray"))
START_SECONDS = 300
# A driver looks for Ray's processes on its machine: it must not find those of others.
_APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_PORT = 6379
_DASHBOARD = 8265


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@dataclass(slots=True)
class Machine:
    """One node: its address, its network namespace if it has one, and the command and process that run it."""

    address: str
    namespace: str
    line: list[str]
    process: subprocess.Popen[bytes]
    is_meant_to_run: bool = True

    def pids(self) -> set[int]:
        """Every process of it."""
        found = descendants(self.process.pid)
        if self.namespace:
            told = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True)
            found |= {int(pid) for pid in told.stdout.split()}
        return found

    def find(self, *words: str) -> list[int]:
        """Its processes whose command line holds all of these words."""
        found = []
        for pid in sorted(self.pids()):
            try:
                line = " ".join(psutil.Process(pid).cmdline())
            except psutil.Error:
                continue  # it ended meanwhile
            if all(word in line for word in words):
                found.append(pid)
        return found

    def kill(self) -> None:
        """Ends all of it at once, as when the power fails."""
        self.is_meant_to_run = False
        self.end()

    def end(self) -> None:
        """Kills every process of it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (pids := self.pids()):
            for pid in pids:
                _kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)

    def unplug(self) -> None:
        """Cuts its network, so that nobody is told that it is gone. Only with a namespace."""
        self.is_meant_to_run = False
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "eth0", "down"], check=True)


class Machines:
    """The machines of one cluster; the first that is added is the head.

    Args:
        environment: for every process of every machine.
        in_namespaces: whether each gets a network namespace.
    """

    def __init__(self, environment: Mapping[str, str], in_namespaces: bool) -> None:
        self.in_namespaces = in_namespaces
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **environment,
        }
        # Sockets have short names: the usual temporary folder of a test is too long.
        self.folder = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
        self.all: list[Machine] = []
        self._bridge = f"fm{self.folder.name[3:]}"
        # One network for each process that runs tests; 10.64.0.0/10 and not what containers use.
        self._net = f"10.{64 + os.getpid() // 250 % 64}.{os.getpid() % 250}"
        self._gcs, self._jobs = (_PORT, _DASHBOARD) if in_namespaces else free_ports(2)
        if in_namespaces:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self._net}.254/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")

    @property
    def gcs(self) -> str:
        """For --address of `ray start` and of ours."""
        return f"{self.all[0].address}:{self._gcs}"

    @property
    def jobs(self) -> str:
        """For --address of `ray job submit`."""
        return f"http://{self.all[0].address}:{self._jobs}"

    def add(self, num_cpus: int, *options: str, prepare: Sequence[str] = ()) -> Machine:
        """Starts one machine, and waits until the cluster knows it.

        Args:
            options: further arguments of `ray start`.
            prepare: a command to be run there first, such as one that mounts something that the others do
                not see. Only with a namespace.
        """
        address, namespace = self._connect(len(self.all) + 1)
        client, agent, runtime, http, metrics = free_ports(5)
        line = [
            *self._enter(namespace, prepare), RAY, "start", "--block",
            f"--node-ip-address={address}", f"--num-cpus={num_cpus}", "--disable-usage-stats",
            f"--dashboard-agent-listen-port={http}", f"--dashboard-agent-grpc-port={agent}",
            f"--runtime-env-agent-port={runtime}", f"--metrics-export-port={metrics}", *options,
        ]  # fmt: skip
        if self.all:
            line.append(f"--address={self.gcs}")
        else:
            line += [
                "--head", f"--port={self._gcs}", f"--dashboard-host={address}",
                f"--dashboard-port={self._jobs}", f"--ray-client-server-port={client}",
                f"--temp-dir={self.folder / 'ray'}",
            ]  # fmt: skip
        self.all.append(Machine(address, namespace, line, self._start(line)))
        self.wait()
        return self.all[-1]

    def _start(self, line: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "start.log").open("ab") as log:
            return subprocess.Popen(
                line, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        """Waits until the cluster knows of the machines that are meant to run, and of no other."""
        deadline = time.monotonic() + START_SECONDS
        running = [machine for machine in self.all if machine.is_meant_to_run]
        wanted = {machine.address for machine in running}
        while True:
            known = [address for address, _ in self._alive()]
            # A lost machine counts as alive for a while, a new one not yet: told apart where each has an
            # address of its own.
            if len(known) == len(running) and (not self.in_namespaces or wanted == set(known)):
                return
            said = (self.folder / "start.log").read_text(errors="replace")[-1500:]
            assert time.monotonic() < deadline, f"{known} of {len(running)} are there:\n{said}"
            for machine in running:
                if machine.process.poll() is not None:
                    # Ray gives a node 30 s to start, which is little on a busy machine.
                    machine.end()
                    machine.process = self._start(machine.line)
            time.sleep(0.5)

    def _alive(self) -> list[tuple[str, str]]:
        """(address, node id) of every machine that the cluster takes for alive."""
        code = (
            "import sys; from ray._raylet import GcsClient; "
            "nodes = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5).values(); "
            "[print('node', n.node_manager_address, n.node_id.hex()) for n in nodes if n.state == 0]"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, self.gcs],
            env=self.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        words = [line.split() for line in done.stdout.splitlines() if line.startswith("node ")]
        return [(address, node_id) for _, address, node_id in words]

    def drain(self, machine: Machine, seconds: int) -> None:
        """Announces that a machine will be taken away, as a cloud does with spot machines."""
        node_id = dict(self._alive())[machine.address]
        told = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken away")
        line = [RAY, "drain-node", "--address", self.gcs, "--node-id", node_id, *told]
        limit = f"--deadline-remaining-seconds={seconds}"
        subprocess.run([*line, limit], env=self.environment, check=True, capture_output=True, timeout=60)

    def submit(
        self, *line: Path | str, folder: Path = REPOSITORY, program: Sequence[str] = ("-m", "framemill")
    ) -> subprocess.Popen[str]:
        """`ray job submit` of a command of ours from a checkout, as the README writes it."""
        command = [RAY, "job", "submit", "--address", self.jobs, "--working-dir", ".", "--", "python"]
        return subprocess.Popen(
            [*command, *program, *map(str, line)],
            cwd=folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run_on(self, machine: Machine, *line: Path | str) -> subprocess.Popen[str]:
        """A command of ours that a person types on one of the machines.

        With a namespace, the process is one that waits for it: find the command itself by `Machine.find`.
        """
        inside = []
        if machine.namespace:
            root = psutil.Process(machine.process.pid).children()[0]
            inside = ["nsenter", "--target", str(root.pid), "--net", "--mount", "--pid", "--wd=."]
        command = [*inside, sys.executable, "-m", "framemill", *map(str, line)]
        return subprocess.Popen(
            command,
            cwd=REPOSITORY, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def close(self) -> None:
        """Ends every machine and removes what was made for it. Closing again does nothing."""
        for machine in reversed(self.all):
            machine.kill()
            machine.process.wait(20)
            if machine.namespace:
                _ip("netns", "del", machine.namespace)
        if self.in_namespaces and self.folder.exists():
            _ip("link", "del", self._bridge)
        self.all = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def _enter(self, namespace: str, prepare: Sequence[str]) -> list[str]:
        """What goes before `ray start`, so that it sees its own processes and Ray folder alone."""
        if not namespace:
            return []
        shared, own = self.folder / "ray", self.folder / namespace
        shared.mkdir(exist_ok=True)
        own.mkdir(exist_ok=True)
        first = shlex.join(["mount", "--bind", str(own), str(shared)])
        then = [shlex.join(prepare)] if prepare else []
        script = " && ".join([first, *then, 'exec "$@"'])
        return ["ip", "netns", "exec", namespace, "sh", "-c", script, "sh", *_APART]

    def _connect(self, number: int) -> tuple[str, str]:
        """An address, and the namespace that has it."""
        if not self.in_namespaces:
            return "127.0.0.1", ""
        name, address = f"{self._bridge}-{number}", f"{self._net}.{number}"
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", self._bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        # By it a program finds its own address; there is nothing behind it.
        _ip("-n", name, "route", "add", "default", "via", f"{self._net}.254")
        return address, name


def can_have_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    if not sys.platform.startswith("linux") or None in map(shutil.which, ("ip", "unshare", "nsenter")):
        return False
    name = f"fm-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if not made:
        return False
    linked = subprocess.run(["ip", "link", "add", name[:15], "type", "bridge"], capture_output=True)
    entered = subprocess.run(["ip", "netns", "exec", name, *_APART, "true"], capture_output=True)
    subprocess.run(["ip", "link", "del", name[:15]], capture_output=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return linked.returncode == entered.returncode == 0


@contextmanager
def machines(
    *num_cpus: int,
    environment: Mapping[str, str] | None = None,
    in_namespaces: bool | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Machines]:
    """A cluster whose machines have these numbers of CPUs, the head first.

    Args:
        environment: added for every process of every machine.
        in_namespaces: whether each has a network of its own; by default where that is possible.
        options: further arguments of each `ray start`.
    """
    apart = can_have_namespaces() if in_namespaces is None else in_namespaces
    cluster = Machines(environment or {}, apart)
    try:
        for number in num_cpus:
            # One after the other: Ray gives each 30 s, and on one address they would choose the same names.
            cluster.add(number, *options)
        yield cluster
    finally:
        cluster.close()


def _ip(*line: str) -> None:
    subprocess.run(["ip", *line], check=True, capture_output=True)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
