"""What Slurm says, and what it means: every entry of the table is reachable and complete."""

from pathlib import Path

import pytest

from hpc_dl.cluster import slurm_sentences
from hpc_dl.cluster.job_info import JobInfo
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.config.resources import Resources

_POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
# Answers of sbatch 22.05.8 on the development cluster; "doc": from slurm_errno.c of 24.11.
_REFUSALS = [
    (f"QOSMaxSubmitJobPerUserLimit – {_POLICY}", "wait until some of them end", ("qos",)),
    (f"QOSMaxWallDurationPerJobLimit – {_POLICY}", "less resources.time", ("resources.time", "qos")),
    (f"QOSMinGRES – {_POLICY}", "more resources.gpus_per_node", ("resources.gpus_per_node", "qos")),
    (f"QOSMaxGRESPerJob – {_POLICY}", "fewer resources.gpus_per_node", ("resources.gpus_per_node",)),
    (f"AssocMaxSubmitJobLimit – {_POLICY}", "wait until some of them end", ("qos",)),
    (_POLICY, "sacctmgr show qos", ("qos", "account")),
    ("Invalid account or account/partition combination specified", "`account` and `partition`", ("account",)),
    ("User's group not permitted to use this partition", "your group may use: main", ("partition",)),
    ("invalid partition specified: gpu – Invalid partition name specified", "to one of: main, small", ("partition",)),
    ("Invalid qos specification", "`qos` in the site profile", ("qos",)),
    ("--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", "{OPTION: null}", ("sbatch",)),
    ("Requested GRES option unsupported by configured SelectType plugin", "`gpu_type`", ("gpu_type",)),
    ("Invalid generic resource (gres) specification", "{gres:", ("gpu_type",)),
    ("Memory specification can not be satisfied", "less resources.memory", ("resources.memory",)),
    ("Requested node configuration is not available", "no node has", ("resources.nodes",)),
    ("Invalid license specification", "licenses", ("sbatch",)),
    ("Invalid node name specified", "nodelist", ("sbatch",)),
    ("No cluster 'nosuch' known by database.", "sacctmgr show clusters", ("sbatch",)),
    ("--mem is not allowed here: use --mem-per-cpu – Unspecified error", "what its message says", ("sbatch",)),
    ("unrecognized option '--foo'", "omit or change it", ("sbatch",)),
    ("Unable to contact slurm controller (connect failure)", "--site local", ()),
    ("DNS SRV lookup failed – fatal: Could not establish a configuration source", "on a login node", ()),
    ("Requested time limit is invalid (missing or exceeds some limit)", "less resources.time", ()),  # doc
    ("Rate limit exceeded, please retry momentarily", "try again in a minute", ()),  # doc
]  # fmt: skip

# The reasons of libslurmfull 22.05.8 that a waiting job may have, one for each kind of limit.
_REASONS = {
    "later": "Priority Resources BeginTime Dependency JobArrayTaskLimit ReqNodeNotAvail Reservation Licenses Cleaning "
    "QOSMaxJobsPerUserLimit QOSMaxCpuPerUserLimit QOSMaxGRESPerUser QOSGrpCpuLimit QOSGrpNodeLimit QOSGrpGRES "
    "AssocGrpMemLimit AssocGrpGRES AssocMaxJobsLimit MaxGRESPerAccount MaxJobsPerAccount QOSGrpCPURunMinutesLimit",
    "held": "JobHeldUser JobHeldAdmin JobHoldMaxRequeue JobLaunchFailure QOSGrpCPUMinutesLimit AssocGrpCPUMinutesLimit "
    "AssocGrpGRESMinutes AssocGrpWallLimit",
    "never": "PartitionTimeLimit PartitionNodeLimit PartitionConfig DependencyNeverSatisfied MaxMemPerLimit InvalidQOS "
    "InvalidAccount AccountNotAllowed QOSNotAllowed BadConstraints DeadLine ReservationDeleted QOSMinGRES QOSMinMemory "
    "QOSMinCpuNotSatisfied QOSMaxWallDurationPerJobLimit AssocMaxWallDurationPerJobLimit QOSMaxNodePerJobLimit "
    "QOSMaxMemoryPerNode AssocMaxCpuPerJobLimit QOSMaxCpuMinutesPerJobLimit AssocMaxGRESMinutesPerJob AssocMaxBBPerJob",
}


@pytest.mark.parametrize(("message", "remedy", "keys"), _REFUSALS)
def test_refusal_names_the_remedy_and_its_key(message: str, remedy: str, keys: tuple[str, ...]) -> None:
    sentence = slurm_sentences.refusal(message)
    assert sentence is not None
    assert set(keys) <= set(sentence.keys)
    current = {key: f"value of {key}" for key in sentence.keys}
    text = slurm_sentences.remedy(message, current, lambda: ["main", "small"])
    assert remedy in text
    assert all(f"{key} is 'value of {key}'" in text for key in keys)


def test_unknown_refusal_is_not_explained() -> None:
    assert slurm_sentences.refusal("The moon is in the wrong phase") is None
    assert "--dry-run" in slurm_sentences.remedy("The moon is in the wrong phase", {}, list)


@pytest.mark.parametrize(
    ("starts", "name"), [(starts, name) for starts in _REASONS for name in _REASONS[starts].split()]
)
def test_reason_says_whether_the_job_can_start(starts: str, name: str) -> None:
    sentence = slurm_sentences.reason_for_waiting(name)
    assert sentence is not None
    assert sentence.starts == starts
    text = JobInfo("PENDING", name).explanation
    assert f"({name})" in text
    assert ("will never start" in text) == (starts == "never")
    assert starts == "later" or sentence.remedy, "somebody has to do something, so the text says what"


def test_reasons_in_words_are_known() -> None:
    for text in (
        "Job's account not permitted to use this partition (accounts allows other not dev)",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "ReqNodeNotAvail, Reserved for maintenance",
        "launch failed requeued held",
    ):
        assert slurm_sentences.reason_for_waiting(text) is not None, text
    assert JobInfo("PENDING", "SomethingNew").explanation == "SomethingNew"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("PENDING", "waiting"), ("EXPEDITING", "waiting"), ("RUNNING", "alive"), ("POWER_UP_NODE", "alive"),
        ("COMPLETED,COMPLETING", "alive"), ("PENDING,LAUNCH_FAILED", "waiting"), ("OUT_OF_MEMORY", "ended"),
        ("REVOKED", "unclear"), ("LAUNCH_FAILED", "unclear"), ("DREAMING", "unclear"), ("RUNNING,DREAMING", "unclear"),
    ],
)  # fmt: skip
def test_unknown_state_is_neither_alive_nor_ended(state: str, kind: str) -> None:
    info = JobInfo(state)
    assert info.kind == kind
    if kind == "unclear":
        assert info.explanation.startswith(f"Slurm says {state}: ")


def test_every_entry_is_reachable_and_names_real_keys() -> None:
    keys = {*SiteProfile.model_fields, *(f"resources.{name}" for name in Resources.model_fields), "resources"}
    for find, sentences in (
        (slurm_sentences.reason_for_waiting, slurm_sentences.reasons()),
        (slurm_sentences.refusal, slurm_sentences.refusals()),
    ):
        for sentence in sentences:
            assert set(sentence.keys) <= keys, sentence
            for says in sentence.says:
                example = says.replace("*", "" if says.startswith("*") else "X")
                assert find(example), says
            assert any(find(says.replace("*", "X")) is sentence for says in sentence.says), sentence


def test_table_is_the_only_place_of_the_words_of_slurm() -> None:
    folder = Path(slurm_sentences.__file__).parent
    words = ("NODE_FAIL", "BOOT_FAIL", "PartitionTimeLimit", "QOSMax", "accounting/QOS")
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if f'"{word}' in text], path
