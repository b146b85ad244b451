"""Other services that do the same work, for comparison, each in its own process."""
