"""``dcc confidence``: fit how much a match can be trusted, on pairs with known truth."""
