"""Models that have a name: the one that comes with dcc, and those in the user's folder."""
