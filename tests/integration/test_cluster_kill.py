"""All brokers killed with -9 at the same moment under load, again and again: every acknowledged record is there, at its offset, once, on all
replicas. KILLS=50 for the long run."""
import random
import time

import balsa
import campaign
import cluster

KILLS = campaign.number("KILLS", 3)


def main():
    cluster.need("cluster_kill")
    rng = random.Random(campaign.SEED)
    for shards in (1, 3):
        with cluster.Cluster(3, shards=shards, settings=campaign.SETTINGS) as brokers, \
                campaign.campaign(f"all killed, {shards} shards", brokers, 6) as run:
            back = []
            for _ in range(KILLS):
                time.sleep(rng.uniform(0.1, 2))
                brokers.kill()
                started = time.monotonic()
                brokers.start()
                run.wait_served()
                back.append(time.monotonic() - started)
            print(f"  {shards} shards: from the start of all to acknowledgements of all partitions: {campaign.milliseconds(back)}", flush=True)
    balsa.finish()


main()
