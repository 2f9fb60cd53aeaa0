"""A compacted topic ends in the last value of each key, in order and at unchanged offsets, while the broker is killed again and again.

First one broker, in each codec, then three, one of which is killed at a time; replicas have the same segments in the end. UPDATES and KEYS set the
size (10,000,000 of 100,000 for the long run). Kafka's own dump tool reads the segments.
"""
import os
import random
import re
import subprocess
import threading
import time

import balsa
import cluster
import kafka_dump

UPDATES = int(os.environ.get("UPDATES", "300000"))
KEYS = int(os.environ.get("KEYS", "3000"))
SECONDS_BETWEEN_KILLS = float(os.environ.get("KILL_EVERY", "3"))
ROUND = 20000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SETTINGS = {
    "log.cleanup.policy": "compact",
    "log.segment.bytes": 1048576,
    "log.cleaner.backoff.ms": 200,
    "log.cleaner.delete.retention.ms": 3600000,
    "balsa.checkpoint.interval.ms": 500,
}


def kcat(brokers, *options, text=None, timeout=120):
    addresses = brokers.addresses if isinstance(brokers, cluster.Cluster) else brokers.address
    command = ["kcat", "-b", addresses, *options]
    return subprocess.run(command, input=text, capture_output=True, timeout=timeout, check=False)


def produce(broker, topic, rows, codec):
    """Until it is acknowledged; what was in doubt is sent again, which leaves the same last values."""
    text = "\n".join(f"{key}:{value}" if value is not None else f"{key}:" for key, value in rows).encode()
    while True:
        out = kcat(broker, "-P", "-t", topic, "-K:", "-Z", "-z", codec, "-X", "batch.size=16384", "-X", "enable.idempotence=true",
                   "-X", "message.timeout.ms=60000", text=text)
        if out.returncode == 0:
            return
        time.sleep(0.3)


def consume(broker, topic):
    """[(offset, key, value)] of everything, value None for a tombstone."""
    out = kcat(broker, "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-Z", "-f", "%o:%k:%S:%s\n", timeout=600)
    balsa.check(out.returncode == 0, f"consume {topic}: {out.stderr[-300:]}")
    rows = []
    for line in out.stdout.decode().splitlines():
        offset, key, size, value = line.split(":", 3)
        rows.append((int(offset), key, None if size == "-1" else value))
    return rows


class Killer(threading.Thread):
    """kill -9 and a start again, for as long as it runs."""

    def __init__(self, *brokers):
        super().__init__()
        self.brokers = brokers
        self.ending = threading.Event()
        self.kills = 0

    def run(self):
        while not self.ending.wait(random.uniform(0.3, 1) * SECONDS_BETWEEN_KILLS):
            broker = random.choice(self.brokers)
            broker.kill()
            broker.start()
            self.kills += 1

    def end(self):
        self.ending.set()
        self.join()


def sizes(broker, topic):
    total = 0
    for directory, _, files in os.walk(broker.data):
        if os.path.basename(directory).startswith(topic + "-0."):
            for name in files:
                try:
                    total += os.path.getsize(os.path.join(directory, name)) if name.endswith(".log") else 0
                except FileNotFoundError:
                    pass
    return total


def check_topic(broker, topic, last, end):
    rows = consume(broker, topic)
    offsets = [offset for offset, _, _ in rows]
    balsa.check(offsets == sorted(set(offsets)), f"{topic}: offsets grow")
    balsa.check(not offsets or offsets[-1] < end, f"{topic}: the last offset {offsets[-1:]} is below the end {end}")
    found = {key: value for _, key, value in rows}
    wrong = [key for key, value in last.items() if found.get(key) != value]
    balsa.check(not wrong, f"{topic}: {len(wrong)} of {len(last)} keys have another last value, such as {wrong[:3]}")
    return rows


def updates(broker, topic, count, keys, codec):
    last = {}
    number = 0
    while number < count:
        rows = []
        for _ in range(min(ROUND, count - number)):
            key = f"k{random.randrange(keys)}"
            value = None if random.random() < 0.02 else f"{number}-{'x' * random.randrange(80)}"
            rows.append((key, value))
            number += 1
        produce(broker, topic, rows, codec)
        last.update(rows)
    return last


def end_offset(broker, topic):
    out = kcat(broker, "-Q", "-t", f"{topic}:0:-1")
    return int(re.search(r"offset (\d+)", out.stdout.decode()).group(1))


def one_broker():
    with balsa.Broker(shards=2, settings=SETTINGS) as broker:
        killer = Killer(broker)
        killer.start()
        lasts = {}
        for codec in CODECS:
            topic = f"compacted-{codec}"
            lasts[topic] = updates(broker, topic, UPDATES if codec == "none" else UPDATES // 10, KEYS, codec)
        killer.end()
        print(f"  {killer.kills} kills", flush=True)
        for topic, last in lasts.items():
            end = end_offset(broker, topic)
            rows = check_topic(broker, topic, last, end)
            print(f"  {topic}: {end} offsets, {len(rows)} records left of {len(last)} keys, {sizes(broker, topic)} bytes", flush=True)
        # One segment at least is open, and a share of the others may be dirty; but most is gone.
        end = end_offset(broker, "compacted-none")
        balsa.wait_until(lambda: len(consume(broker, "compacted-none")) < end // 3, 60, 2)
        rows = check_topic(broker, "compacted-none", lasts["compacted-none"], end)
        balsa.check(len(rows) < end // 2, f"{len(rows)} records are left of {end}, with {KEYS} keys")
        broker.kill()
        broker.start()
        for topic, last in lasts.items():
            check_topic(broker, topic, last, end_offset(broker, topic))
        balsa.check(broker.stop() == 0, "clean stop")
        dump(broker.data, len(CODECS))


def dump(data, at_least):
    class_path, why = kafka_dump.prepare()
    if class_path is None:
        balsa.skip("dump", why)
        return
    found = kafka_dump.check_below(class_path, data)
    balsa.check(found >= at_least, f"{found} segments were dumped")


def three_brokers():
    """Everything is closed and compacted in the end: segments by time as well."""
    config = {"segment.ms": "5000", "min.cleanable.dirty.ratio": "0.01"}
    with cluster.Cluster(3, shards=2, settings=SETTINGS) as brokers:
        brokers.wait_ready()
        brokers.create("everywhere", 1, config=config)
        killer = Killer(*brokers.nodes.values())
        killer.start()
        last = updates(brokers, "everywhere", UPDATES, KEYS, "lz4")
        killer.end()
        brokers.wait_led("everywhere")
        print(f"  three brokers: {killer.kills} kills", flush=True)
        end = end_offset(brokers, "everywhere")
        balsa.wait_until(lambda: len(consume(brokers, "everywhere")) <= len(last), 60, 2)
        rows = check_topic(brokers, "everywhere", last, end)
        balsa.check(len(rows) <= len(last), f"{len(rows)} records are left of {len(last)} keys")
        brokers.check_replicas("three brokers", "everywhere", 60)
        for number in brokers.nodes:
            names = os.listdir(brokers.directory(number, "everywhere", 0))
            balsa.check(any(name.count(".") == 2 for name in names), f"broker {number} has compacted segments: {sorted(names)[:4]}")


def main():
    if not balsa.have("kcat"):
        balsa.skip("compaction", "kcat is not installed")
        balsa.finish()
    cluster.need("compaction")
    one_broker()
    three_brokers()
    balsa.finish()


main()
