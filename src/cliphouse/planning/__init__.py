"""What a table costs before there is one. Nothing here reads or writes anything."""
