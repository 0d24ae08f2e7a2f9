"""What is searched for, as one vector."""
