"""The network of the paper: one file for each step, in the paper's order and terms."""
