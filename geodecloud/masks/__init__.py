"""Where pixels may change: sources of clouds, mask files, areas of interest."""
