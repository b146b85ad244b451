"""Networks of other projects: their checkpoints read, recognised and published to a store."""
