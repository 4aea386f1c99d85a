"""Facts about scenes, pictures of results, STAC Items."""
