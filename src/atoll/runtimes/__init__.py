"""Ways to run an algorithm on this machine. They share what a process needs, and nothing else."""
