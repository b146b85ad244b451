"""Networks of a store in the formats of other programs."""
