"""``dcc serve``: matching over HTTP, on one machine."""
