"""Where a table's rows are: placement, topology and CREATE statements."""
