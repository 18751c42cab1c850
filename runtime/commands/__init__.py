"""``dcc match`` and ``dcc build``: the commands, and the work behind them."""
