"""``dcc view``: a matched pair as one self-contained web page."""
