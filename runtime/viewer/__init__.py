"""A matched pair as one web page that needs nothing else."""
