"""What errors to expect on a scene, told from the scene itself: its clouds over its own clear ground."""
