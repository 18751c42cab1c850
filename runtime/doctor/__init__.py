"""``dcc doctor``: what is installed, what works, and what this machine can do."""
