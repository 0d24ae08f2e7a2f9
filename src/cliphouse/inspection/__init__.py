"""What a table holds, and whether it is in order."""
