"""The failures of videos."""


class VideoError(Exception):
    """A video cannot be read or written; the text says why, and what would have been accepted."""
