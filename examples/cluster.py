"""A folder of scenes on a Dask cluster; here one on this machine, elsewhere its address.

::

    python examples/cluster.py SCENES CLEAR                          # a cluster of its own
    python examples/cluster.py SCENES CLEAR tcp://10.0.0.1:8786      # one that runs already

Workers need geodecloud in the same version and the same paths; see docs/cluster.md.
"""

from __future__ import annotations

import sys

from distributed import Client, LocalCluster

import geodecloud
from geodecloud.batch.summary import format_table


def main(scenes: str, clear: str, address: str | None = None) -> None:
    if address is not None:
        report = geodecloud.decloud_folder(scenes, clear, scheduler=address)
    else:
        # one thread a worker: torch uses the core of its thread and no other
        with LocalCluster(threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            report = geodecloud.decloud_folder(scenes, clear)  # finds the active client by itself
    print(format_table(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
