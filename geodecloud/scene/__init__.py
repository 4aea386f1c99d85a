"""What is known of a scene: grid, bands, radiometry, metadata; no file is opened here."""
