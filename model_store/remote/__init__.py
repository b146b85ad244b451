"""Model stores at a URL: an index that is written conditionally, files that are never changed, and a local cache."""
