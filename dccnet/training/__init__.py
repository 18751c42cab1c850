"""Weakly supervised training, on lists of pairs or on warped photographs."""
