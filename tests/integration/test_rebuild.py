"""A broker whose segments are damaged rebuilds its replicas from the others, while records are written; one that was away for long catches
up. All that was acknowledged is there, and replicas are the same byte by byte.
"""
import glob
import os
import random
import re

import balsa
import cluster
import history

PARTITIONS = 8
SEED = int(os.environ.get("SEED", "1"))
AWAY = int(os.environ.get("AWAY", "20000"))  # records while one broker is away


def segments(brokers, number, topic, partition):
    folder = brokers.directory(number, topic, partition)
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".log")) if folder else []


def damage(path, how, rng):
    if how == "cut":
        os.truncate(path, os.path.getsize(path) // 2)
    elif how == "remove":
        os.unlink(path)


def promoted(brokers, victim):
    """How often replicas of the broker were made voters after they had caught up, by what leaders say."""
    logs = (open(node.log_path, encoding="utf-8", errors="replace").read() for node in brokers.nodes.values())
    return sum(len(re.findall(f'event="member promoted" group=[0-9]+ broker={victim}', log)) for log in logs)


def lose_logs(brokers, load, victim):
    """The write-ahead log of one shard is damaged: what it had acknowledged or voted for is not known, so the broker comes back as another."""
    brokers.kill(victim)
    data = brokers[victim].data
    for path in glob.glob(os.path.join(data, "wal", "*", "0", "*.wal")):
        with open(path, "r+b") as log:
            log.write(b"\xff" * 4096)
    brokers[victim].start(wait=False)
    brokers.wait_accepting(victim)
    load.wait_acked(4000)
    behind = brokers.caught_up("rebuilt", 60)
    balsa.check(not behind, f"damaged log: all replicas of broker {victim} are level: {behind}\n{brokers.tails()}")
    log = open(brokers[victim].log_path, encoding="utf-8", errors="replace").read()
    balsa.check("gives up its identity" in log and "position 0" in log, f"damaged log: it says what and where:\n{brokers[victim].log_tail()}")
    kept = sorted(os.listdir(os.path.join(data, "damaged-1")))
    balsa.check(kept == ["local", "metadata", "topics", "wal"], f"damaged log: what was there is set aside: {kept}")
    balsa.check(brokers[victim].is_running() and not os.path.exists(os.path.join(data, "rejoin")), "damaged log: the broker runs")


def main():
    cluster.need("moves")
    rng = random.Random(SEED)
    settings = {"log.segment.bytes": 1 << 20, "balsa.checkpoint.interval.ms": 500}
    with cluster.Cluster(3, shards=2, settings=settings) as brokers:
        topic = "rebuilt"
        brokers.create(topic, PARTITIONS, 3)
        load = history.Load(brokers.addresses, topic, PARTITIONS, rng, rate=2000, sizes=(100, 1000))
        load.start()
        load.wait_acked(6000)
        again = rng.sample(range(PARTITIONS), 3)  # twice: the second time what was rebuilt goes, and leaves nothing behind
        for victim, how, hurt in ((3, "cut", again), (1, "remove", rng.sample(range(PARTITIONS), 3)), (3, "cut", again)):
            brokers.stop(victim)
            before = promoted(brokers, victim)
            for partition in hurt:
                paths = segments(brokers, victim, topic, partition)
                if balsa.check(paths, f"broker {victim} has segments of partition {partition}"):
                    damage(paths[0], how, rng)
            brokers.start(victim)
            load.wait_acked(4000)
            behind = brokers.caught_up(topic, 30)
            balsa.check(not behind, f"{how}: all replicas of broker {victim} are level: {behind}")
            log = open(brokers[victim].log_path, encoding="utf-8", errors="replace").read()
            rebuilt = log.count("damaged replica is rebuilt from its peers")
            balsa.check(rebuilt >= len(hurt), f"{how}: {len(hurt)} replicas were damaged, {rebuilt} rebuilt")
            # Before they vote again the next broker must not lose anything: that would be a majority.
            balsa.check(balsa.wait_until(lambda: promoted(brokers, victim) >= before + len(hurt), 60, 0.05), f"{how}: all that was rebuilt votes again")
        lose_logs(brokers, load, 2)
        away = 2
        brokers.kill(away)
        load.rate = None
        load.wait_acked(AWAY)
        load.rate = 2000
        brokers.start(away)
        behind = brokers.caught_up(topic, 120)
        balsa.check(not behind, f"after an absence all replicas of broker {away} are level: {behind}")
        load.finish()
        count = history.verify("rebuild", load, history.read_all(brokers.addresses, topic, PARTITIONS))
        brokers.check_replicas("rebuild", topic)
        print(f"  {count} records", flush=True)
    balsa.finish()


if __name__ == "__main__":
    main()
