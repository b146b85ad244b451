"""Other services that do the same work, for comparison. Each is a process of its own."""
