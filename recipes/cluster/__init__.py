"""Stages on many nodes: `slurm.sh` under Slurm, `ray_job.py` on a Ray cluster that runs already."""
