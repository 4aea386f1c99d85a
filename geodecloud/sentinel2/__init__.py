"""Sentinel-2 products: which files, what their documents say, their pixels on one grid."""
