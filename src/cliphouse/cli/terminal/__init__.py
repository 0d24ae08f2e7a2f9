"""Pictures on a terminal: what it can show, and how each way of showing is spelled."""
