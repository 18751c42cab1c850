"""``dcc bench``: bundles and backends side by side, the table that people choose by."""
