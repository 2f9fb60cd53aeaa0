"""A rolling restart by SIGTERM under 20,000 records a second: no error that a client does not retry by itself, and how long any partition is
silent; the same while the number of shards changes. RATE=20000 ROUNDS=3 SLACK=1 for the long run with the promised bound."""
import time

import balsa
import campaign
import cluster

RATE = campaign.number("RATE", 20000)
ROUNDS = campaign.number("ROUNDS", 1)
PARTITIONS = 24
GAP_S = 0.5
SETTLE_S = 2


def restart(run, number):
    """A clean stop and a start; the longest silence of any partition meanwhile."""
    start = time.monotonic()
    code = run.cluster.stop(number)
    stopped = time.monotonic() - start
    balsa.check(code == 0, f"{run.what}: broker {number} stops with code {code}\n{run.cluster[number].log_tail()}")
    run.cluster.start(number)
    run.cluster.wait_ready()
    run.wait_in_sync()
    time.sleep(SETTLE_S)
    run.wait_served()
    gaps = [run.load.gap(p, start, time.monotonic()) for p in range(PARTITIONS)]
    print(f"  {run.what}: broker {number} stopped in {stopped:.2f} s, back with all in sync after {time.monotonic() - start - SETTLE_S:.1f} s; "
          f"longest silence of a partition {campaign.milliseconds(gaps)}", flush=True)
    return max(gaps)


def rolling(what, shard_counts):
    with cluster.Cluster(3, shards=2, settings=campaign.SETTINGS) as brokers, \
            campaign.campaign(what, brokers, PARTITIONS, rate=RATE, sizes=(100,), window=400000, settings={"linger.ms": 5}) as run:
        longest = 0
        for shards in shard_counts:
            for number in (1, 2, 3):
                brokers[number].shards = shards
                longest = max(longest, restart(run, number))
        balsa.check(longest <= campaign.SLACK * GAP_S, f"{what}: a partition was silent for {longest:.2f} s, promised are {GAP_S} s")


def main():
    cluster.need("rolling")
    rolling("rolling restart", [2] * ROUNDS)
    rolling("rolling restart with another number of shards", [3, 1, 2] * ROUNDS if ROUNDS > 1 else [3])
    balsa.finish()


main()
