"""``dcc data pairs``: lists of pairs from folders of classes and from annotated pictures."""
