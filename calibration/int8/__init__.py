"""Convolutions in INT8: ranges measured on frames, and a graph that quantises with them."""
