"""modelshelf: an inference model library. Bring a model in once, keep it true to the byte, serve it anywhere."""

__version__ = "0.1.0"
