"""From a client's request to an encoded image. Imports no HTTP library."""
