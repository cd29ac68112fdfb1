"""The Slurm array of docs/eval.md on a Slurm of this host alone; skipped where Debian's packages are not installed:
slurmctld, slurmd, slurm-client, munge.

Usage: eval_slurm_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
"""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest
from pathlib import Path

import cli_case
from cli_case import CliCase, made_text

DOCS = Path(__file__).resolve().parent.parent / "docs" / "eval.md"
PATHS = f"{os.environ['PATH']}:/usr/sbin:/sbin"
START_S = 60
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def documented_script():
    """The indented block of docs/eval.md that begins with a shebang."""
    return re.search(r"^    #!/bin/bash\n(?:    .*\n)+", DOCS.read_text(), re.MULTILINE)[0].replace("\n    ", "\n").strip()


@unittest.skipUnless(all(shutil.which(name, path=PATHS) for name in PROGRAMS), "Slurm is not installed")
class Slurm(CliCase):
    def setUp(self):
        super().setUp()
        self.slurm = self.folder / "slurm"
        self.slurm.mkdir(mode=0o755)
        self.folder.chmod(0o755)  # munged insists on it
        (self.slurm / "slurm.conf").write_text(CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], ports=free_ports(2), user=getpass.getuser(), folder=self.slurm))
        (self.slurm / "munge.key").write_bytes(os.urandom(1024))
        (self.slurm / "munge.key").chmod(0o400)
        self.environment = {**os.environ, "PATH": PATHS, "SLURM_CONF": str(self.slurm / "slurm.conf")}
        files = {"key": "munge.key", "pid": "munge.pid", "log": "munge.log", "seed": "munge.seed"}
        self.start("munged", "--foreground", "--force", f"--socket={self.slurm / 'munge.socket'}",
                   *(f"--{kind}-file={self.slurm / name}" for kind, name in files.items()))
        self.wait_for(lambda: (self.slurm / "munge.socket").exists())
        self.start("slurmctld", "-D", "-c")
        self.start("slurmd", "-D")
        self.wait_for(lambda: "idle" in self.slurm_output("sinfo", "--noheader", "--format=%T"))

    def start(self, *command):
        """A daemon that is stopped when the test ends."""
        log = (self.slurm / f"{command[0]}.log").open("w")
        self.addCleanup(log.close)
        daemon = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.send_signal, signal.SIGTERM)

    def wait_for(self, reached):
        deadline = time.monotonic() + START_S
        while not reached():
            logs = "".join(path.read_text() for path in self.slurm.glob("*.log"))
            self.assertLess(time.monotonic(), deadline, f"Slurm did not start: {logs}")
            time.sleep(0.1)

    def slurm_output(self, *command):
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
                              timeout=cli_case.TIMEOUT_S).stdout

    def test_documented_array_gives_the_output_of_one_run(self):
        self.write("TEXT", made_text(1100))
        options = ["-m", str(self.model), "--context", "128", "--limit", "12"]
        script = documented_script()
        self.assertIn("miser eval kl ", script)
        self.write("eval.sh", script.replace("miser eval kl", " ".join([str(self.miser), "eval", "kl", *options])) + "\n")
        submitted = self.slurm_output("sbatch", "--wait", "eval.sh")
        self.assertIn("Submitted batch job", submitted)
        logs = "".join(path.read_text() for path in self.folder.glob("slurm-*.out"))
        self.assertEqual(len(list(self.folder.glob("*.jsonl"))), 8, logs)
        merged = self.output("eval", "merge", *(f"{i}.jsonl" for i in range(8)), "--json")
        self.assertEqual(merged, self.output("eval", "kl", *options, "--kv", "q4", "--kv", "rule", "--data", "TEXT", "--json"))


if __name__ == "__main__":
    cli_case.main()
