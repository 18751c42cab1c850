"""INT8 calibration of a bundle. Empty so far: nothing in the toolkit quantises yet."""
