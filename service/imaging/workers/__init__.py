"""Worker processes in which the files of clients are decoded and encoded."""
