"""Windows over a scene and back into one image: integers only, no I/O, no torch."""
