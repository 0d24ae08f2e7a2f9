"""Plans what a table will cost. Nothing here reads or writes anything."""
