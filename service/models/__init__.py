"""Which version of each model is loaded."""
