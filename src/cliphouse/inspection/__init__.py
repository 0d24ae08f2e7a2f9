"""Summary, statistics and checks of a table."""
