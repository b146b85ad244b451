"""From a client's request to an encoded image. No HTTP."""
