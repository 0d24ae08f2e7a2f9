"""Recall and rounding, measured on the table itself."""
