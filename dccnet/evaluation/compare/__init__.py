"""``dcc compare``: evaluations of several models on one benchmark, side by side and pair by pair."""
