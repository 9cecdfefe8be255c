#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --job-name=golden
#SBATCH --mem=1572864M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=2160

# setup
module load 'gcc; echo no' || exit 1
export WORDS='it'"'"'s $HOME; rm -rf /'
export PYTHONPATH=/runs/golden-YYYYMMDD-HHMMSS-xxxx/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1  # the current folder, with its edits, is not imported from
export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"
run=/runs/golden-YYYYMMDD-HHMMSS-xxxx
trap : TERM USR1 USR2  # outlive the ranks; not '', which they would inherit
rm -f "$run/requeue" "$run/requeue-refused"  # of an earlier attempt that was killed

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit/%j_%t_log.out --cpus-per-task=8 --kill-on-bad-exit=1 --export=ALL apptainer exec --nv --bind /runs/golden-YYYYMMDD-HHMMSS-xxxx --bind /data --bind /scratch --env PYTHONPATH=/runs/golden-YYYYMMDD-HHMMSS-xxxx/code --writable-tmpfs '/images/hpc dl.sif' python -u -m submitit.core._submit /runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit


# teardown
status=$?
requeue() {
    local try said
    for try in 1 2 3 4 5 6; do
        said=$(trap '' TERM; scontrol requeue "$SLURM_JOB_ID" 2>&1) && exit 75
        case $said in
            *"pending execution"*) exit 75 ;;  # Slurm was faster
            *[Cc]ontact*) sleep 10 ;;  # the controller is restarted
            *) break ;;
        esac
    done
    printf '%s\n' "$said" >"$run/requeue-refused"
}
cancelled() {
    [[ -e $run/cancelled.json ]] && return
    printf '{"time": "%s", "by": "scancel"}\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" >"$run/.cancelled.json.$$"
    mv "$run/.cancelled.json.$$" "$run/cancelled.json"
}
state() { grep -qE "^ *\"state\": \"($1)\"" "$run/state.json" 2>/dev/null; }
word=
{ read -r word <"$run/requeue" && rm -f "$run/requeue"; } 2>/dev/null
if [[ -z $word && $status -ne 0 ]] && ! state "stopped|finished|failed|cancelled"; then
    word=killed  # before it could answer the signal
fi
if [[ -n $word ]]; then
    job=" $(scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null) "
    if [[ $job =~ \ Restarts=([0-9]+)\  ]] && ((BASH_REMATCH[1] > ${SLURM_RESTART_COUNT:-0})); then
        :  # Slurm has requeued it by itself
    elif [[ $job =~ \ PreemptTime=[0-9] ]]; then
        requeue
    elif [[ $job =~ \ JobState=(COMPLETING|CANCELLED)\  && $job != *" Reason=TimeLimit "* ]]; then
        cancelled
    elif [[ $word == limit || ($word == term && $job == *" Reason=TimeLimit "*) ]]; then
        requeue
    fi
fi
state stopped && exit 75
state finished && exit 0  # a signal may have met ranks that had just finished
exit "$status"