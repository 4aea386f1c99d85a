"""``geodecloud bench``: how fast this machine clears scenes."""
