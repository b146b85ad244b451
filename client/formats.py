"""The formats of results, and the extensions of their files."""

FORMATS = {
    ".apng": "png",
    ".avif": "avif",
    ".gif": "gif",
    ".jfif": "jpeg",
    ".jpe": "jpeg",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".pjp": "jpeg",
    ".pjpeg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
"""Format of a result, by its extension."""

EXTENSIONS = {"image/jpeg": ".jpg", "image/tiff": ".tif"}
"""Extension of a result, by media type, if it is not the subtype."""

VIDEO_SUFFIXES = frozenset(
    {
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    }
)
"""Files that are videos by their names: they are done in this process, without a service."""


def extension(media_type: str) -> str:
    """The extension of a result of this type, such as `.jpg`."""
    return EXTENSIONS.get(media_type, f".{media_type.rpartition('/')[2]}")
