"""What every fault test does around its faults: a topic, load and a reader that run through them, and at the end all that must hold."""
import contextlib
import os
import random
import time

import balsa
import history

SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 30))))
# How much longer than promised things may take here: the machine of a test run is small and busy. SLACK=1 for the promises themselves.
SLACK = float(os.environ.get("SLACK", "10"))
# Small logs, so that checkpoints, new segments and reused files are part of every run.
SETTINGS = {"balsa.wal.file.bytes": 32 << 20, "balsa.wal.max.bytes": 128 << 20, "balsa.checkpoint.interval.ms": 1000,
            "log.segment.bytes": 4 << 20, "balsa.disk.reserve.bytes": 1 << 20}
TOPIC = "load"


def number(name, default):
    """A count from the environment."""
    return int(os.environ.get(name, str(default)))


class Campaign:
    """A cluster under load. `step` bounds how long service may be away after a fault is over."""

    def __init__(self, what, cluster, load, reader):
        self.what = what
        self.cluster = cluster
        self.load = load
        self.reader = reader

    def wait_served(self, timeout_s=60):
        """Until every partition has acknowledged something that was sent after now."""
        since = time.monotonic()
        counts = [len(times) for times in self.load.ack_times]
        done = balsa.wait_until(lambda: all(len(times) > n + 1 for times, n in zip(self.load.ack_times, counts)), timeout_s, 0.01)
        if not done:
            silent = [p for p, times in enumerate(self.load.ack_times) if len(times) <= counts[p] + 1]
            balsa.check(False, f"{self.what}: partitions {silent} acknowledge nothing for {timeout_s} s; their leaders: "
                               f"{self.leaders()}\n{self.cluster.tails()}")
        return time.monotonic() - since if done else None

    def wait_in_sync(self, timeout_s=60):
        """Until every replica has caught up with what its partition has now: then any one broker may be lost again."""
        behind = self.cluster.caught_up(TOPIC, timeout_s)
        return balsa.check(not behind, f"{self.what}: {len(behind)} replicas do not catch up within {timeout_s} s; (partition, broker): (bytes, wanted) "
                                       f"{dict(list(behind.items())[:6])}\n{self.cluster.tails()}")

    def leaders(self):
        """{partition: leader} of the load's topic, -1 for none."""
        metadata = self.cluster.metadata()
        return {p.number: p.leader for p in metadata.topics.get(TOPIC, [])} if metadata else {}


@contextlib.contextmanager
def campaign(what, cluster, partitions=12, factor=None, config=None, reader=True, topic=TOPIC, **load):
    """Runs the block under load; afterwards: nothing lost, moved, doubled or invented, and replicas equal byte by byte."""
    cluster.create(topic, partitions, factor, config)
    rng = random.Random(SEED)
    writer = history.Load(cluster.addresses, topic, partitions, rng, **load)
    follower = history.Reader(cluster.addresses, topic, partitions) if reader else None
    watermarks = history.Watermarks(cluster.answering, topic, partitions)
    for thread in (writer, watermarks, follower):
        if thread:
            thread.start()
    try:
        run = Campaign(what, cluster, writer, follower)
        run.wait_served()
        yield run
        run.wait_served()
    finally:
        writer.finish()
        watermarks.finish()
        if follower:
            follower.finish()
    watermarks.check(what)
    found = history.read_all(cluster.addresses, topic, partitions)
    read = history.verify(what, writer, found)
    if follower:
        follower.check(what, found)
    cluster.check_replicas(what, topic)
    cluster.check_producers(what, topic)
    print(f"  {what}, seed {SEED}: {writer.sent} sent, {len(writer.acked)} acknowledged, {read} read", flush=True)


def milliseconds(values):
    """'p50 12, p99 40, max 51 ms' of seconds."""
    values = sorted(values)
    return (f"p50 {1000 * history.percentile(values, 0.5):.0f}, p99 {1000 * history.percentile(values, 0.99):.0f}, "
            f"max {1000 * max(values, default=0):.0f} ms")
