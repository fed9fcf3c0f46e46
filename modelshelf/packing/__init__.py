"""Files to a model data image and back, the same bytes every time."""
