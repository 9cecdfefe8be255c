#!/bin/bash

# Parameters
#SBATCH --account=project_1
#SBATCH --constraint='a100&nvlink'
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=a100:4
#SBATCH --job-name=golden
#SBATCH --mem=1572864M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --reservation=course
#SBATCH --signal=USR2@90
#SBATCH --time=2160

# setup
module load gcc/13.2 cuda/12.4 || exit 1
ulimit -n 65536
export NCCL_SOCKET_IFNAME=ib0
export PYTHONPATH=/runs/golden-YYYYMMDD-HHMMSS-xxxx/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1  # the current folder, with its edits, is not imported from
export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit/%j_%t_log.out --cpus-per-task=8 --kill-on-bad-exit=1 --export=ALL PYTHON -u -m submitit.core._submit /runs/golden-YYYYMMDD-HHMMSS-xxxx/submitit
