"""``dcc match`` and ``dcc build``: the commands and their jobs."""
