"""What is told of a scene and of a result: facts, pictures, STAC Items."""
