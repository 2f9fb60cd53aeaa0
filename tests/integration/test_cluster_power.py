"""Power loss of all brokers at once: each has a file system of its own, all are stopped in the same moment with nothing flushed, under load.
What was acknowledged is there, at its offset, once, on all replicas. CUTS=50 for the long run."""
import os
import random
import tempfile
import time

import balsa
import campaign
import cluster
import loopfs

CUTS = campaign.number("CUTS", 3)
SIZE = 2 + CUTS // 5 << 30
BROKERS = 3


def run_all(folder, disks, rng):
    for number in range(1, BROKERS + 1):
        disks[number] = loopfs.LoopFs(os.path.join(folder, str(number)), SIZE)
    data = {number: os.path.join(disk.target, "data") for number, disk in disks.items()}
    with cluster.Cluster(BROKERS, shards=2, settings=campaign.SETTINGS, data=data) as brokers:
        try:
            with campaign.campaign("power cut", brokers, 6) as run:
                for _ in range(CUTS):
                    time.sleep(rng.uniform(0.2, 2))
                    for disk in disks.values():
                        disk.cut_power()
                    time.sleep(rng.choice((0, 0, 0.3)))  # sometimes they get to see their writes fail
                    brokers.kill()
                    for disk in disks.values():
                        disk.unmount()
                        disk.mount()
                    brokers.start()
                    run.wait_served()
        finally:
            brokers.kill()


def main():
    cluster.need("cluster_power")
    rng = random.Random(campaign.SEED)
    with tempfile.TemporaryDirectory(prefix="balsa-power-") as folder:
        reason = loopfs.why_not(folder)
        if reason:
            balsa.skip("cluster_power", reason)
            balsa.finish()
        disks = {}
        try:
            run_all(folder, disks, rng)
        finally:
            for disk in disks.values():
                disk.close()
    balsa.finish()


main()
