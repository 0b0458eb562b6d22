"""A real Slurm cluster of two nodes on this machine, for tests.

Nothing is simulated: munged, slurmctld and two slurmd run in a private folder and on free ports, so that any
number of these clusters can live side by side, next to a Slurm of the machine's own too.

Every daemon runs in a PID namespace of its own. Killing the namespace's first process takes with it, by the kernel's
rule, all that was ever started inside: for a node that is what a power cut does, jobs and all, and at the end of a test
nothing is left behind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel", "mount", "setpriv", "unshare")

# Before a command: the kernel kills it when the test process dies, however that dies.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig=KILL")
OWN_PID_NAMESPACE = (*DIE_WITH_PARENT, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# Inside, our folder lies over /etc/slurm: Snakemake's Slurm plugin removes SLURM_CONF from the environment of its job
# steps, and their `srun` looks there then. The shell stays (no `exec`): the first process has to reap orphans, or Slurm
# takes their zombies for job steps that will not end.
OVER_ETC_SLURM = ("sh", "-c", 'mount --bind "$1" /etc/slurm && shift && "$@"; exit $?', "sh")

# Slurm takes any device file for a GPU; a job that asks for one gets CUDA_VISIBLE_DEVICES, and these two do no harm.
GPU_OF_NODE = {"n1": "/dev/null", "n2": "/dev/zero"}

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[slurmctld]}
SlurmUser=root

# cred_expire is also how long a requeued job waits before it may start again (120 s, unless told; at least 5 s).
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5

# No accounting, as at many small sites: `sacct` is there, but fails.
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none

# Instead of cgroups, which we may not be allowed to make, process groups: like there, what is left of a job step
# whose first process has ended is killed.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# Look at the queue every second and right after a submission (every minute and after 3 s, unless told).
SchedulerParameters=sched_interval=1,batch_sched_delay=0

# A killed node is found out within about 15 s (minutes, unless told): it is down, and its jobs are requeued. It is
# welcome back as soon as it registers.
SlurmdTimeout=5
MessageTimeout=4
JobRequeue=1
ReturnToService=2

StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log

# The nodes are as large as written here, whatever this machine has.
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=2 RealMemory=20000 Gres=gpu:1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n1]}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n2]}
PartitionName=main Nodes=n1,n2 Default=YES State=UP
"""


@dataclass(frozen=True)
class Job:
    """One line of squeue. Snakemake's Slurm plugin writes rule and wildcards into the comment."""

    id: str
    state: str
    node: str
    comment: str
    restarts: int


def missing_requirement() -> str | None:
    """Why no cluster can be started here, or None if one can."""
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    if absent := [program for program in (*DAEMONS, *COMMANDS) if shutil.which(program) is None]:
        return f"not installed: {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    if subprocess.run([*OWN_PID_NAMESPACE, *OVER_ETC_SLURM, "/tmp", "true"], capture_output=True).returncode != 0:
        return "no PID namespace or no mount over /etc/slurm allowed (in a container: start it with --privileged)"
    return None


class SlurmCluster:
    """Two nodes, n1 and n2, each with 2 CPUs, 20 GB and, in name, one GPU. Lives as long as its `with` block."""

    def __init__(self) -> None:
        # In /tmp, as a socket's path may be no longer than 107 characters; open, as munged insists on it.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        foreign = ("SLURM_", "SBATCH_", "SRUN_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env["SLURM_CONF"] = str(self.folder / "slurm.conf")

    def __enter__(self) -> SlurmCluster:
        try:
            self._configure()
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D", "-c")
            for node in GPU_OF_NODE:
                self.start_node(node)
            self.wait_for_idle_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill what was started and remove the folder; no graceful end, as the state is thrown away."""
        for name in reversed(list(self._daemons)):
            self._kill(name)
        shutil.rmtree(self.folder)

    # To look

    def sinfo(self) -> dict[str, str]:
        """Each node's state, such as {"n1": "idle", "n2": "mixed*"}; the star says that it does not respond."""
        return dict(line.split() for line in self.run("sinfo", "--Node", "--noheader", "--format=%N %T").splitlines())

    def squeue(self) -> list[Job]:
        """All jobs Slurm remembers, finished ones included, oldest first."""
        fields = "JobID:|,State:|,NodeList:|,Comment:|,RestartCnt:"
        lines = self.run("squeue", "--states=all", "--noheader", "--sort=i", f"--Format={fields}").splitlines()
        return [Job(*texts, int(restarts)) for *texts, restarts in (line.strip().split("|") for line in lines)]

    def latest_job(self, comment: str) -> Job:
        """The youngest job whose comment ends like this."""
        return next(job for job in reversed(self.squeue()) if job.comment.endswith(comment))

    # To meddle

    def warn(self, job: Job) -> None:
        """Send SIGTERM to the job's steps, but not to its batch script: just what `sbatch --signal=TERM@...` does."""
        self.run("scancel", "--signal=TERM", job.id)

    def scancel(self, job: Job) -> None:
        """End the job for good."""
        self.run("scancel", job.id)

    def requeue(self, job: Job) -> None:
        """Stop the job and put it back into the queue under the same number, as preemption does."""
        self.run("scontrol", "requeue", job.id)

    def kill_node(self, node: str) -> None:
        """Cut the power: slurmd, its job steps and all they started die at once. Slurm has to find out by itself."""
        self._kill(node)

    def start_node(self, node: str) -> None:
        """Start a node, for the first time or after `kill_node`."""
        self._start(node, "slurmd", "-D", "-N", node)

    # To wait and to run

    def wait_for_idle_nodes(self) -> None:
        """Wait until the whole cluster is up and has nothing to do."""
        self.wait_until(lambda: set(self.sinfo().values()) == {"idle"}, "both nodes are idle", seconds=30)

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Poll the condition; where it doesn't come true, fail with the nodes' state and the ends of all logs."""
        deadline = time.monotonic() + seconds
        while not self._holds(condition):
            if ended := [name for name, daemon in self._daemons.items() if daemon.poll() is not None]:
                raise RuntimeError(f"ended by itself: {', '.join(ended)}\n{self._report()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}\n{self._report()}")
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """The output of a Slurm command on this cluster; a failure raises with what the command said."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    # Within

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = dict(zip(("slurmctld", *GPU_OF_NODE), free_ports(1 + len(GPU_OF_NODE)), strict=True))
        gres = "".join(f"NodeName={node} Name=gpu File={device}\n" for node, device in GPU_OF_NODE.items())
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(host=host, ports=ports, folder=self.folder))
        (self.folder / "gres.conf").write_text(gres)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        files = [f"--{kind}={self.folder}/munge.{kind}" for kind in ("socket", "pid-file", "seed-file")]
        self._start("munged", "munged", "--foreground", f"--key-file={key}", *files)
        self.wait_until((self.folder / "munge.socket").exists, "munged has made its socket", seconds=10)

    def _start(self, name: str, *command: str) -> None:
        wrapped = [*OWN_PID_NAMESPACE, *OVER_ETC_SLURM, self.folder, *command]
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                wrapped, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _kill(self, name: str) -> None:
        unshare = self._daemons.pop(name)
        # The namespace's first process is the one child of `unshare`, which reaps it and ends.
        for child in Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        unshare.wait()

    @staticmethod
    def _holds(condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except RuntimeError:  # a Slurm command, while slurmctld is starting
            return False

    def _report(self) -> str:
        nodes = subprocess.run(["scontrol", "show", "nodes"], env=self.env, capture_output=True, text=True)
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        ends = ["\n".join([f"--- {log.name}", *log.read_text().splitlines()[-15:]]) for log in logs]
        return "\n".join([nodes.stdout, nodes.stderr, *ends])


def free_ports(count: int) -> list[int]:
    """Free TCP ports, below the range from which the kernel serves outgoing connections, as those come any time.

    Drawn by the system's generator: where tests seed `random`, every worker would draw the same ones.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports
