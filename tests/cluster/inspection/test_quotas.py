"""The output of programs that report quotas.

Written after these sources, with other names and numbers: quota(1) of quota-tools 4.06 and its
``quota.c`` (a star at an exceeded quota; with ``--raw-grace`` no empty columns); ``lfs quota`` in
the Lustre manual 2.x, chapter 25 (a long name breaks the line, brackets where a server does not
respond); ``mmlsquota -Y`` of IBM Storage Scale 5; ``beegfs-ctl --getquota --csv`` of BeeGFS 7
(``ModeGetQuotaInfo.cpp``); the user guides of LUMI, CSC and the Digital Research Alliance of
Canada.
"""

from pathlib import Path

import pytest

from hpc_dl.cluster.inspection import quotas as module
from hpc_dl.cluster.inspection.quotas import Quota, quotas, read_beegfs, read_mmlsquota, read_pairs, read_table
from tests.cluster.inspection.recorded_cluster import isolate, write_program

QUOTA = """\
Disk quotas for user me (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
      /dev/sda1 9700000* 9500000 10000000 1796059200    1234       0       0       0
nfs:/export/home  100000       0       0       0      95      90     100       0
"""
LFS = """\
Disk quotas for grp lab (gid 900):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
/lustre/scratch/a-long-name
                [1041408] 5242880 6291456       -     [7]       0       0       -
       /lustre2     1840       0 1000000000     -   99123  100000  120000       -
uid 1000 is using default file quota setting
"""
MMLSQUOTA = """\
mmlsquota::HEADER:version:reserved:reserved:filesystemName:quotaType:id:name:blockUsage:blockQuota:blockLimit:\
blockInDoubt:blockGrace:filesUsage:filesQuota:filesLimit:filesInDoubt:filesGrace:remarks:quota:defQuota:fid:filesetname:
mmlsquota::0:1:::gpfs0:USR:1000:me:2048:4096:8192:0:none:10:0:0:0:none:e:on:off:0:root:
mmlsquota::0:1:::gpfs0:GRP:900:lab:7:0:0:0:none:60:0:64:0:none:e:on:off:::
"""
BEEGFS = "name,id,size,hard,files,hard\nme,1000,950,1000,12,unlimited\n"
LUMI = """\
Quota for your projects:

Disk area                          Capacity(used/max)  Files(used/max)
----------------------------------------------------------------------
Personal home folder
/users/me                                     19G/22G         62K/100K
/scratch/project_1                          1,5T/2.0T           2/2.0M
"""
ALLIANCE = """\
                             Description                Space           # of files
                         /home (user me)         280 kB/47 GB              25/500k
"""
GIB = 2**30


def test_quota() -> None:
    assert list(read_table(QUOTA)) == [
        Quota("/dev/sda1", "space", 9700000 * 1024, 9500000 * 1024),
        Quota("nfs:/export/home", "files", 95, 90),
    ]


def test_lfs_quota_of_a_group() -> None:
    assert list(read_table(LFS)) == [
        Quota("/lustre/scratch/a-long-name (lab)", "space", 1041408 * 1024, 5242880 * 1024),
        Quota("/lustre2 (lab)", "space", 1840 * 1024, 1000000000 * 1024),
        Quota("/lustre2 (lab)", "files", 99123, 100000),
    ]


def test_mmlsquota() -> None:
    assert list(read_mmlsquota(MMLSQUOTA)) == [
        Quota("gpfs0/root", "space", 2048 * 1024, 4096 * 1024),
        Quota("gpfs0 (lab)", "files", 60, 64),
    ]


def test_beegfs() -> None:
    assert list(read_beegfs(BEEGFS)) == [Quota("BeeGFS", "space", 950, 1000)]


def test_programs_of_computing_centers() -> None:
    assert list(read_pairs(LUMI)) == [
        Quota("/users/me", "space", 19 * GIB, 22 * GIB),
        Quota("/users/me", "files", 62e3, 100e3),
        Quota("/scratch/project_1", "space", 1536 * GIB, 2048 * GIB),
        Quota("/scratch/project_1", "files", 2, 2e6),
    ]
    assert list(read_pairs(ALLIANCE)) == [
        Quota("/home", "space", 280 * 1024, 47 * GIB),
        Quota("/home", "files", 25, 500e3),
    ]


@pytest.mark.parametrize("text", ["", "lfs quota: '/tmp' not on a mounted Lustre filesystem", "a:b\n,,,,,\n1/2 3/4"])
def test_other_text_is_no_quota(text: str) -> None:
    assert [*read_table(text), *read_mmlsquota(text), *read_beegfs(text), *read_pairs(text)] == []


def test_programs_are_asked_and_slow_ones_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    isolate(programs, monkeypatch)
    assert quotas([tmp_path], "me") == []
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.5)
    write_program(programs / "quota", f"cat <<'END'\n{QUOTA}END\nexit 1")
    write_program(programs / "mmlsquota", "exec sleep 60")
    project = f"Disk quotas for prj 7 (pid 7):\n{tmp_path} 9 0 10 - 1 0 0 -"
    write_program(
        programs / "lfs",
        f'case "$*" in "project -d"*) echo "7 P {tmp_path}";; *"-p 7 "*) echo "{project}";; *) exit 1;; esac',
    )
    assert quotas([tmp_path], "me") == [*read_table(QUOTA), Quota(f"{tmp_path} (7)", "space", 9 * 1024, 10 * 1024)]
