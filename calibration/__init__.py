"""INT8 and half precision by measurement: ranges on real frames, costs of layers, plans within a budget."""
