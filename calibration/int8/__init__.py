"""INT8 convolutions: ranges measured on frames, and graphs that are quantised with them."""
