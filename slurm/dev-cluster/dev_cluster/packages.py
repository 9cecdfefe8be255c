"""Installation of the missing programs from the distribution's packages."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess

from dev_cluster.errors import Fault, say
from dev_cluster.files import last_lines
from dev_cluster.processes import SYSTEM_PATH

PACKAGE_OF_PROGRAM = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariadb-admin": "mariadb-client",
    "slurmctld": "slurmctld",
    "slurmdbd": "slurmdbd",
    "slurmd": "slurmd",
    "sinfo": "slurm-client",
    "sacctmgr": "slurm-client",
}
POLICY_RC_D = pathlib.Path("/usr/sbin/policy-rc.d")


def ensure_packages(log: pathlib.Path) -> None:
    """Install the programs that are missing.

    Raises:
        Fault: they cannot be installed, or slurmd is the emulator.
    """
    missing = [program for program in PACKAGE_OF_PROGRAM if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        packages = sorted({PACKAGE_OF_PROGRAM[program] for program in missing})
        names = " ".join(packages)
        if not shutil.which("apt-get", path=SYSTEM_PATH):
            raise Fault(f"missing programs: {', '.join(missing)}, and this machine has no apt-get: install {names}")
        say(f"installing {names} (log: {log})")
        install(packages, log)
        still_missing = [program for program in missing if not shutil.which(program, path=SYSTEM_PATH)]
        if still_missing:
            raise Fault(f"{names} are installed, but {SYSTEM_PATH} has no {', '.join(still_missing)}", 1)
    slurmd = os.path.realpath(shutil.which("slurmd", path=SYSTEM_PATH) or "")
    if "emulator" in slurmd:
        raise Fault(
            f"slurmd is {slurmd}, which runs no jobs: `apt-get remove slurm-wlm-emulator`, or "
            "`update-alternatives --set slurmd /usr/sbin/slurmd-wlm` (and the same for slurmctld and slurmstepd)"
        )


def install(packages: list[str], log: pathlib.Path) -> None:
    """Install packages with apt-get, without starting their services (by Debian's policy-rc.d).

    Nothing is removed for them: mariadb-server would otherwise replace a MySQL server.

    Raises:
        Fault: apt-get failed.
    """
    env = {**os.environ, "PATH": SYSTEM_PATH, "DEBIAN_FRONTEND": "noninteractive"}
    add_policy = not POLICY_RC_D.exists()
    if add_policy:
        POLICY_RC_D.write_text("#!/bin/sh\nexit 101\n")
        POLICY_RC_D.chmod(0o755)
    try:
        with log.open("wb") as stream:
            for arguments in (["update"], ["install", "-y", "--no-remove", "--no-install-recommends", *packages]):
                argv = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments]
                done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
                # An update may fail for a source that is not needed.
                if done.returncode and arguments[0] == "install":
                    raise Fault(f"`{shlex.join(argv)}` failed; the end of {log}:\n{last_lines(log)}", 1)
    finally:
        if add_policy:
            POLICY_RC_D.unlink(missing_ok=True)
