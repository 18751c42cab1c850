"""Weakly supervised training on pair lists or on warped photographs."""
