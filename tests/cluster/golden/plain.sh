#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --job-name=golden
#SBATCH --mem=1572864M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/runs/golden-xxx/submitit/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=2160

# setup
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE NODE_RANK GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK ROLE_WORLD_SIZE ROLE_NAME MASTER_ADDR MASTER_PORT TORCHELASTIC_RUN_ID TORCHELASTIC_USE_AGENT_STORE TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS  # srun sets the ranks
export PYTHONPATH=/runs/golden-xxx/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1  # do not import from the current folder, which may have been edited
export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"
run=/runs/golden-xxx
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID} job=${job:-$SLURM_JOB_ID}
state_is() { grep -qE "^ *\"state\": \"($1)\"" "$run/state.json" 2>/dev/null; }
trap : TERM USR1 USR2  # outlive the ranks; an empty trap ('') would be inherited by them
rm -f "$run/requeue" "$run/requeue-refused"  # of an earlier attempt that was killed
sed -i '/^ *"state":/s/"stopped"/"running"/' "$run/state.json" 2>/dev/null  # its ranks may die before they do

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/golden-xxx/submitit/%j_%t_log.out --cpus-per-task=8 --kill-on-bad-exit=1 --export=ALL PYTHON -u -m submitit.core._submit /runs/golden-xxx/submitit


# teardown
status=$?
requeue() {
    local try message
    for try in 1 2 3 4 5 6; do
        message=$(trap '' TERM; scontrol requeue "$job" 2>&1) && exit 75
        case $message in
            *"pending execution"*) exit 75 ;;  # Slurm has requeued it already
            *[Cc]ontact*) sleep 10 ;;  # the controller is restarting
            *) break ;;
        esac
    done
    printf '%s\n' "$message" >"$run/requeue-refused"
}
record_cancellation() {
    [[ -e $run/cancelled.json ]] && return
    printf '{"time": "%s", "by": "scancel"}\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" >"$run/.cancelled.json.$$"
    mv "$run/.cancelled.json.$$" "$run/cancelled.json"
}
cause=
{ read -r cause <"$run/requeue" && rm -f "$run/requeue"; } 2>/dev/null
if [[ -z $cause && $status -ne 0 ]] && ! state_is "stopped|finished|failed|diverged|cancelled"; then
    cause=killed  # before the ranks could stop with a checkpoint
    if [[ $status == 138 || $status == 140 ]]; then  # by USR1 or USR2, before their programs had started
        printf '%s\n' "$job" >>"$run/warned-early"
        (($(wc -l <"$run/warned-early") > 5)) || cause=limit
    fi
fi
if [[ -n $cause ]]; then
    facts=" $(scontrol --oneliner show job "$job" 2>/dev/null) "
    if [[ $facts =~ \ Restarts=([0-9]+)\  ]] && ((BASH_REMATCH[1] > ${SLURM_RESTART_COUNT:-0})); then
        :  # Slurm itself has requeued it
    elif [[ $facts =~ \ PreemptTime=[0-9] ]]; then
        requeue
    elif [[ $facts =~ \ JobState=(COMPLETING|CANCELLED)\  && $facts != *" Reason=TimeLimit "* ]]; then
        record_cancellation
    elif [[ $cause == limit || ($cause == term && $facts == *" Reason=TimeLimit "*) ]]; then
        requeue
    fi
fi
state_is stopped && exit 75
state_is finished && exit 0  # a signal may have reached ranks that had just finished
exit "$status"