"""INT8 that is measured: ranges of real frames, quantised graphs, what they cost, plans within a budget."""
