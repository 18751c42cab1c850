"""``dcc models``, and how the built-in model is made."""
