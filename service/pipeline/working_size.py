"""The size at which a style paints where the client names none.

Strokes have a size in pixels. On a photograph of 12 megapixels they are too fine to be seen, and it looks as if only
its colours had changed; so it is painted smaller, and the painting is enlarged.
"""

from service.imaging.sizes import Size
from service.pipeline.enlargement import IMPERCEPTIBLE

DEFAULT_WORKING_SIZE = 1024
"""The longer side in pixels, for styles whose manifest names none. At four times of it photographs of 12 megapixels are
painted and enlarged in less time than at their own size, and at 1,280 in more."""

LEAST_PART = 2
"""The shorter side is no less than the working size divided by this, so that panoramas keep what they show."""


def working_size(photo: Size, longer_side: int) -> Size:
    """The size at which a photograph is painted: its own, or smaller where strokes would be much too fine for it."""
    factor = max(longer_side / max(photo), longer_side / LEAST_PART / min(photo))
    return photo if factor * IMPERCEPTIBLE >= 1 else photo.times(factor)
