"""Old records go: by size, by time (the open segment included), by both policies at once; lookups by time are right afterwards, a start after
kill -9 brings nothing back, and a topic that is made anew has nothing of the former one."""
import os
import re
import subprocess
import time

import balsa
import cluster

SETTINGS = {"log.retention.check.interval.ms": 200, "balsa.checkpoint.interval.ms": 500, "log.cleaner.backoff.ms": 200}
SEGMENT = {"segment.bytes": "1048576"}


def kcat(broker, *options, text=None, timeout=120):
    return subprocess.run(["kcat", "-b", broker.address, *options], input=text, capture_output=True, timeout=timeout, check=False)


_admins = {}


def admin(broker):
    """Kept: what a client was asked is not answered any more once nobody holds it."""
    from confluent_kafka.admin import AdminClient
    if broker.address not in _admins:
        _admins[broker.address] = AdminClient({"bootstrap.servers": broker.address})
    return _admins[broker.address]


def create(broker, topic, config):
    from confluent_kafka.admin import NewTopic
    wish = NewTopic(topic, 1, replication_factor=1, config=config)
    admin(broker).create_topics([wish], operation_timeout=30)[topic].result(30)


def offset(broker, topic, timestamp):
    """-2: the earliest, -1: the end, else the first at or after that time; the end when there is none."""
    out = kcat(broker, "-Q", "-t", f"{topic}:0:{timestamp}")
    match = re.search(r"offset (-?\d+)", out.stdout.decode())
    return int(match.group(1)) if match else None


def produce(broker, topic, count, size=500):
    text = "\n".join(f"k{n % 50}:{n}-{'x' * size}" for n in range(count)).encode()
    out = kcat(broker, "-P", "-t", topic, "-K:", "-X", "batch.size=16384", text=text)
    balsa.check(out.returncode == 0, f"produce to {topic}: {out.stderr[-300:]}")


def segments(broker, topic):
    found = []
    for directory, _, files in os.walk(broker.data):
        if os.path.basename(directory).startswith(topic + "-0."):
            found += [name for name in files if name.endswith(".log")]
    return sorted(found)


def by_size(broker):
    create(broker, "small", {"retention.bytes": "2097152", "retention.ms": "-1", **SEGMENT})
    create(broker, "all", {"retention.bytes": "-1", "retention.ms": "-1", **SEGMENT})
    for topic in ("small", "all"):
        produce(broker, topic, 12000)
    balsa.check(balsa.wait_until(lambda: (offset(broker, "small", -2) or 0) > 0, 60, 0.2), "retention.bytes moves the start")
    # Segments that are not needed for 2 MiB go; one MiB of slack for the one that straddles, one for the open one.
    balsa.check(balsa.wait_until(lambda: len(segments(broker, "small")) <= 4, 60, 0.2), f"small has {segments(broker, 'small')}")
    balsa.check(offset(broker, "small", -1) == 12000, "the end stays")
    balsa.check(offset(broker, "all", -2) == 0 and len(segments(broker, "all")) >= 6, "without limits nothing goes")


def by_time(broker):
    create(broker, "brief", {"retention.ms": "2000", "segment.ms": "1000", **SEGMENT})
    create(broker, "rolled", {"retention.ms": "-1", "segment.ms": "1000", **SEGMENT})
    produce(broker, "brief", 100)
    for n in range(4):
        produce(broker, "rolled", 10)
        time.sleep(1.1)
    balsa.check(len(segments(broker, "rolled")) >= 3, f"segment.ms begins new segments: {segments(broker, 'rolled')}")
    balsa.check(balsa.wait_until(lambda: offset(broker, "brief", -2) == 100, 60, 0.2), "the open segment goes as well")
    balsa.check(offset(broker, "brief", -1) == 100, "the end stays")
    produce(broker, "brief", 5)
    out = kcat(broker, "-C", "-t", "brief", "-o", "100", "-c", "5", "-q", "-f", "%o\n")
    balsa.check(out.stdout.split() == [b"100", b"101", b"102", b"103", b"104"], "offsets go on after everything went")


def lookups(broker):
    start = offset(broker, "small", -2)
    balsa.check(offset(broker, "small", 0) == start, "a lookup of an early time gives the first record that is left")
    out = kcat(broker, "-C", "-t", "small", "-o", str(start + 500), "-c", "1", "-q", "-f", "%T")
    found = offset(broker, "small", int(out.stdout))
    balsa.check(start <= found <= start + 500, f"a lookup of the time of {start + 500} gives {found}")


def both_policies(broker):
    create(broker, "both", {"cleanup.policy": "compact,delete", "retention.ms": "4000", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01",
                            **SEGMENT})
    produce(broker, "both", 3000)
    seen = []

    def is_gone():
        out = kcat(broker, "-C", "-t", "both", "-o", "beginning", "-e", "-q", "-f", "%o\n")
        seen.append(len(out.stdout.split()))
        return seen[-1] == 0
    balsa.check(balsa.wait_until(is_gone, 60, 0.2), f"compact,delete: all goes by age: {seen}")
    balsa.check(offset(broker, "both", -1) == 3000, "the end stays")


def policies_are_told(broker):
    from confluent_kafka.admin import ConfigResource, ResourceType
    create(broker, "told", {"cleanup.policy": "compact"})
    resource = ConfigResource(ResourceType.TOPIC, "told")
    config = admin(broker).describe_configs([resource])[resource].result(30)
    balsa.check(config["cleanup.policy"].value == "compact", f"cleanup.policy is told as {config['cleanup.policy'].value}")
    out = kcat(broker, "-P", "-t", "told", "-X", "message.timeout.ms=10000", text=b"no key")
    balsa.check(out.returncode != 0, "a record without a key is refused by a compacted topic")


def made_anew(broker):
    admin(broker).delete_topics(["brief"], operation_timeout=30)["brief"].result(30)

    def is_made():
        try:
            create(broker, "brief", {"retention.ms": "-1", **SEGMENT})
            return True
        except Exception:  # the former one still goes
            return False
    balsa.check(balsa.wait_until(is_made, 30, 0.3), "the topic is made anew")
    balsa.check(balsa.wait_until(lambda: offset(broker, "brief", -1) == 0, 30, 0.3), "it is empty")
    produce(broker, "brief", 7)
    out = kcat(broker, "-C", "-t", "brief", "-o", "beginning", "-e", "-q", "-f", "%o\n")
    balsa.check(out.stdout.split() == [b"%d" % n for n in range(7)], f"it has its own records: {out.stdout[:100]}")


def main():
    if not balsa.have("kcat"):
        balsa.skip("retention", "kcat is not installed")
        balsa.finish()
    cluster.need("retention")
    with balsa.Broker(shards=2, settings=SETTINGS) as broker:
        by_size(broker)
        by_time(broker)
        lookups(broker)
        both_policies(broker)
        policies_are_told(broker)
        start = offset(broker, "small", -2)
        broker.kill()
        broker.start()
        balsa.check(offset(broker, "small", -2) >= start, "a start after kill -9 brings nothing back")
        lookups(broker)
        made_anew(broker)
        balsa.check(broker.stop() == 0, "clean stop")
    balsa.finish()


main()
