"""A Dask cluster of two worker processes on this machine, for as long as standard input is open.

Only the workers have novel-backfill: the scheduler needs none. Prints its address, and the workers' process ids.
"""

import sys

from distributed import LocalCluster

if __name__ == "__main__":
    sys.modules["converter"] = None  # type: ignore[assignment]
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        print(cluster.scheduler_address, *(nanny.pid for nanny in cluster.workers.values()), flush=True)
        sys.stdin.read()
