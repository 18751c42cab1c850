"""``dcc figure``: the paper's Figures 1, 5, 6 and 7 for any pairs and models."""
