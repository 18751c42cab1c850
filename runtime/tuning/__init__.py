"""The choice of engines that ``dcc tune`` measured for a bundle on this machine: kept, read, and opened."""
