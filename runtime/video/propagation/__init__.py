"""Carry points, masks and boxes of a reference to a frame, and decide whether they are visible there."""
