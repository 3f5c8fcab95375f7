"""Images of Apptainer and Singularity: what is in them, and how they become a folder."""
