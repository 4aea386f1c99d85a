"""Dask: chunks with a halo, threads, a cluster, memory."""
