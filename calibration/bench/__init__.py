"""``dcc bench``: a table that compares bundles and backends."""
