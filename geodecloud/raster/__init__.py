"""Bytes: rasters read lazily, written, staged, compared, in files and object stores."""
