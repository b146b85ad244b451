"""Image processing on NumPy arrays: codecs, resampling, blending, masks. Imports no HTTP library and no torch."""
