"""Jobs on Slurm or this machine: site profiles, submitting, launching ranks, status, rehearsal."""
