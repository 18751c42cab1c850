"""``dcc tune``: which engine is fastest for each graph of a bundle on this machine."""
