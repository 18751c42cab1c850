"""``dcc demo``: the whole workflow on photographs from scikit-image."""
