"""Real clients against three brokers: each writes idempotently to a topic of three replicas while a broker that leads a part of it is killed
with -9 and started again; then each client reads what all have written, equal and in order, and the replicas' segments are equal byte by
byte. Each client's administration is tried as well, whichever broker it asks.

The client runs in slices (SIGSTOP, SIGCONT) until something of it is committed, so that the death falls into the writing. RECORDS=100000 for a longer run;
CLIENTS="kcat kafkajs" for some of them.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import balsa
import cluster
import wire

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients"))
import prepare  # noqa: E402
import records  # noqa: E402

RECORDS = int(os.environ.get("RECORDS", "20000"))
CLIENTS = os.environ.get("CLIENTS", " ".join(prepare.MAKERS)).split()
SHARDS = int(os.environ.get("SHARDS", "2"))
BROKERS = 3
PARTITIONS = 4
AWAY_S = 2
SLICE_S = 0.01
LIMIT_S = 150 + RECORDS // 200
CODECS = ("none", "lz4", "gzip", "snappy", "none", "zstd", "none")
# See test_clients.py.
STRICT = {"kafkajs", "kafka-python", "aiokafka"}


class Worker:
    """One command of a client's program, in a process group of its own."""

    def __init__(self, client, command, *args):
        self.what = f"{client} {args[0]}"
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*command, *args], stdout=self.out, stderr=subprocess.STDOUT, start_new_session=True,
                                        env={**os.environ, "BROKERS": str(BROKERS)})

    def signal(self, number):
        if self.is_running():  # the group of one that was waited for is gone
            os.killpg(self.process.pid, number)

    def is_running(self):
        return self.process.poll() is None

    def finish(self, limit_s=LIMIT_S):
        """Counts its claims."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            code = f"no end after {limit_s} s"
            self.process.wait()
        self.out.seek(0)
        text = self.out.read().decode(errors="replace")
        claims = [line for line in text.splitlines() if line.startswith(("ok ", "FAIL "))]
        for line in claims:
            balsa.check(line.startswith("ok "), f"{self.what}: {line[5:]}")
        return balsa.check(code == 0 and claims, f"{self.what}: exit {code}: {text[-2000:]}")


def is_known(brokers, topic):
    metadata = brokers.metadata()
    return metadata is not None and topic in metadata.topics


def written(brokers, topic):
    """Records that are committed so far, by the leaders' word."""
    total = 0
    for partition in range(PARTITIONS):
        try:
            leader = brokers.nodes[brokers.leader_of(topic, partition, 5)]
            with wire.Client(leader.port, 5, leader.host) as client:
                error, offset = client.list_offset(topic, partition, -1)
        except (OSError, RuntimeError):
            continue
        total += offset if error == 0 else 0
    return total


def begin(brokers, worker, topic):
    """Leaves the client stopped with its first records written; how many."""
    end = time.monotonic() + 60
    while worker.is_running():
        worker.signal(signal.SIGSTOP)
        before = written(brokers, topic)
        if before > 0 or time.monotonic() > end:
            return before
        worker.signal(signal.SIGCONT)
        time.sleep(SLICE_S)
    return written(brokers, topic)


def produce(brokers, client, command, path, codec, total):
    """Writes while the leader of one of the partitions dies."""
    topic = f"cluster-{client}"
    start = time.monotonic()
    worker = Worker(client, command, "produce", brokers.addresses, topic, path, codec, "all", "1")
    balsa.wait_until(lambda: not worker.is_running() or is_known(brokers, topic), 60, 0.005)
    before = begin(brokers, worker, topic)
    victim = brokers.leader_of(topic, len(client) % PARTITIONS)
    brokers.kill(victim)
    worker.signal(signal.SIGCONT)
    time.sleep(AWAY_S)
    brokers.start(victim)
    good = worker.finish()
    brokers.wait_ready()
    print(f"  {client}: {total} records in {time.monotonic() - start:.1f} s, broker {victim} killed behind {before} of them", flush=True)
    balsa.check(before < total, f"{client}: the death fell into the writing")
    return good


def consume(brokers, client, command, topics, expected, directory):
    out = os.path.join(directory, f"out-{client}")
    os.mkdir(out)
    start = time.monotonic()
    Worker(client, command, "consume", brokers.addresses, out, *topics.values()).finish(LIMIT_S * 2)
    for producer, topic in topics.items():
        for partition in range(PARTITIONS):
            entries = records.found(out, topic, partition)
            due = expected[producer].get(partition, [])
            wrong = compare_kcat(due, entries) if producer == "kcat" else records.compare(due, entries)
            balsa.check(wrong is None, f"{client} reads {topic}-{partition}: {wrong}")
    print(f"  {client}: all read in {time.monotonic() - start:.1f} s", flush=True)
    shutil.rmtree(out)


def compare_kcat(due, entries):
    """kcat sets its own timestamps and headers, and null for what is empty."""
    if len(due) != len(entries):
        return f"{len(entries)} records where {len(due)} were due"
    for offset, ((_, _, key_value), entry) in enumerate(zip(due, entries)):
        if entry[0] != offset:
            return f"offset {entry[0]} where {offset} was due"
        if entry[3] != key_value:
            return f"offset {offset}: other key or value"
    return None


def without_empty(made):
    """As kcat sends them."""
    for partition, timestamp, key, value, headers in made:
        yield partition, timestamp, key or None, value or None, headers


def main():
    cluster.need("cluster_clients")
    ready, missing = prepare.commands(CLIENTS)
    for name, why in missing.items():
        balsa.skip(name, why)
    directory = tempfile.mkdtemp(prefix="balsa-cluster-clients-")
    try:
        with cluster.Cluster(BROKERS, shards=SHARDS, settings={"num.partitions": PARTITIONS}) as brokers:
            expected = {}
            topics = {}
            now_ms = int(time.time() * 1000)
            for seed, (client, command) in enumerate(ready.items()):
                path = os.path.join(directory, client)
                made = records.generate(seed, RECORDS, PARTITIONS, now_ms, is_strict=client in STRICT)
                expected[client], _ = records.write(path, without_empty(made) if client == "kcat" else made)
                topics[client] = f"cluster-{client}"
                produce(brokers, client, command, path, CODECS[seed % len(CODECS)], RECORDS)
            for client, command in ready.items():
                consume(brokers, client, command, topics, expected, directory)
            for client, command in ready.items():
                Worker(client, command, "admin", brokers.addresses).finish()
            for topic in topics.values():
                brokers.check_replicas("at the end", topic)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    balsa.finish()


main()
