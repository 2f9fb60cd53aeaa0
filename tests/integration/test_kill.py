"""kill -9 at random moments under load: every acknowledged record is there, at the offset that was acknowledged, once; nothing that was
not sent is there; offsets are dense.

An idempotent producer (confluent-kafka) writes numbered records to several partitions while the broker is killed and started
again; at the end everything is read back. KILLS=200 SHARDS="1 4" for the long run; the default is short.
"""
import os
import random
import time

import balsa
import cluster
import history

KILLS = int(os.environ.get("KILLS", "12"))
SHARDS = [int(n) for n in os.environ.get("SHARDS", "1 4").split()]
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 30))))
PARTITIONS = 6


def run(shards):
    rng = random.Random(SEED + shards)
    what = f"{shards} shards, seed {SEED}"
    settings = {"num.partitions": PARTITIONS, "balsa.wal.file.bytes": 32 << 20, "balsa.wal.max.bytes": 128 << 20,
                "balsa.checkpoint.interval.ms": 500, "log.segment.bytes": 1 << 20}
    with balsa.Broker(shards=shards, settings=settings) as broker:
        load = history.Load(broker.address, "kill", PARTITIONS, rng)
        load.start()
        try:
            for _ in range(KILLS):
                time.sleep(rng.uniform(0.05, 0.8))
                broker.kill()
                broker.start()
            time.sleep(0.5)
        finally:
            load.finish()
        read = history.verify(what, load, history.read_all(broker.address, "kill", PARTITIONS))
        print(f"  {what}: {KILLS} kills, {load.sent} sent, {len(load.acked)} acknowledged, {read} read", flush=True)


def main():
    cluster.need("kill")
    for shards in SHARDS:
        run(shards)
    balsa.finish()


main()
