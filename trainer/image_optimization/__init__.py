"""Images optimised themselves, without a transform network."""
