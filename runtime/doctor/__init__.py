"""What a file holds (``dcc info``), and what this machine can do with it (``dcc doctor``)."""
