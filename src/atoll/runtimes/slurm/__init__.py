"""Sessions as jobs of a Slurm cluster."""
