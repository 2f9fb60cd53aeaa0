"""Real clients while a leader dies: each writes idempotently to a topic of three replicas while a broker that leads a part of it is killed
with -9 and started again; then each client reads what all have written, equal and in order, while a leader of those partitions is killed in the
same way, and the replicas' segments are equal byte by byte. Each client's administration is tried as well, whichever broker it asks.

A client runs in slices (SIGSTOP, SIGCONT) until something of it is committed, or read, so that the death falls into its work. Several clients at a time
meet the same death; with AT_ONCE=1 each has its own. BROKERS="1 3": also against one broker, which then is away for that long.
RECORDS=100000 for a longer run; CLIENTS="kcat kafkajs" for some of them.
"""
import collections
import os
import random
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
import matrix  # noqa: E402
import prepare  # noqa: E402
import records  # noqa: E402

RECORDS = int(os.environ.get("RECORDS", "3000"))
CLIENTS = os.environ.get("CLIENTS", " ".join(prepare.MAKERS)).split()
SHARDS = int(os.environ.get("SHARDS", "2"))
BROKERS = [int(word) for word in os.environ.get("BROKERS", "3").split()]
AT_ONCE = int(os.environ.get("AT_ONCE", "5"))
PARTITIONS = 4
AWAY_S = 2
SLICE_S = 0.01
LIMIT_S = 150 + RECORDS // 200


class Worker:
    """One command of a client's program, in a process group of its own."""

    def __init__(self, client, command, *args):
        self.what = f"{client} {args[0]}"
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*command, *args], stdout=self.out, stderr=subprocess.STDOUT, start_new_session=True)

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
        notes = [line for line in text.splitlines() if line.startswith("note ")]
        for line in claims:
            balsa.check(line.startswith("ok "), f"{self.what}: {line[5:]} {notes[:3]}")
        return balsa.check(code == 0 and claims, f"{self.what}: exit {code}: {text[-2000:]}")


def topic_of(client):
    return f"cluster-{client}"


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


def hold(worker, has_begun):
    """Leaves the client stopped with its work begun."""
    end = time.monotonic() + 60
    while worker.is_running():
        worker.signal(signal.SIGSTOP)
        if has_begun() or time.monotonic() > end:
            return
        worker.signal(signal.SIGCONT)
        time.sleep(SLICE_S)


def victim_of(brokers, topics):
    """A broker that leads a partition of most of them, and of how many."""
    leaders = [number for topic in topics for number in {brokers.leader_of(topic, p) for p in range(PARTITIONS)}]
    random.shuffle(leaders)
    return collections.Counter(leaders).most_common(1)[0]


def lose_leader(brokers, workers, topics):
    """The leader dies while all of them are in the middle of their work, and comes back."""
    victim, count = victim_of(brokers, topics)
    balsa.check(count == len(topics), f"broker {victim} leads a part of {count} of {topics}")
    brokers.kill(victim)
    for worker in workers:
        worker.signal(signal.SIGCONT)
    time.sleep(AWAY_S)
    brokers.start(victim)
    return victim


def produce(brokers, wave, paths):
    """The clients of a wave write while the leader of a part of each's topic dies."""
    start = time.monotonic()
    workers = []
    befores = []
    topics = [topic_of(client) for client, _ in wave]
    for (client, command), topic in zip(wave, topics):
        worker = Worker(client, command, "produce", brokers.addresses, topic, paths[client], matrix.kill_codec(client), "all", "1")
        workers.append(worker)
        balsa.wait_until(lambda w=worker, t=topic: not w.is_running() or is_known(brokers, t), 60, 0.005)
        hold(worker, lambda t=topic: written(brokers, t) > 0)
        befores.append(written(brokers, topic))
        balsa.check(0 < befores[-1] < RECORDS, f"{client}: the death falls into the writing, {befores[-1]} of {RECORDS} are there")
    victim = lose_leader(brokers, workers, topics)
    for worker in workers:
        worker.finish()
    brokers.wait_ready()
    print(f"  {', '.join(client for client, _ in wave)}: {RECORDS} records each in {time.monotonic() - start:.1f} s, broker {victim} killed behind "
          f"{befores} of them", flush=True)


def consume(brokers, wave, topics, expected, directory):
    """The clients of a wave read all topics while a leader of their partitions dies."""
    start = time.monotonic()
    workers = []
    outs = []
    for client, command in wave:
        out = os.path.join(directory, f"out-{client}")
        os.mkdir(out)
        worker = Worker(client, command, "consume", brokers.addresses, out, *topics.values())
        hold(worker, lambda o=out: os.listdir(o))
        balsa.check(worker.is_running(), f"{client}: the death falls into the reading")
        workers.append(worker)
        outs.append(out)
    victim = lose_leader(brokers, workers, list(topics.values()))
    for (client, _), worker, out in zip(wave, workers, outs):
        worker.finish(LIMIT_S * 2)
        check_read(client, out, topics, expected)
        shutil.rmtree(out)
    brokers.wait_ready()
    print(f"  {', '.join(client for client, _ in wave)}: all read in {time.monotonic() - start:.1f} s, broker {victim} killed", flush=True)


def check_read(client, out, topics, expected):
    for producer, topic in topics.items():
        for partition in range(PARTITIONS):
            entries = records.found(out, topic, partition)
            due = expected[producer].get(partition, [])
            wrong = compare_kcat(due, entries) if producer == "kcat" else records.compare(due, entries)
            balsa.check(wrong is None, f"{client} reads {topic}-{partition}: {wrong}")


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


def run(count, ready, paths, expected):
    os.environ.update(BROKERS=str(count), KILLS="1")  # for clients' programs: how many there are, and that they die
    topics = {client: topic_of(client) for client in ready}
    clients = list(ready.items())
    waves = [clients[at:at + AT_ONCE] for at in range(0, len(clients), AT_ONCE)]
    settings = {"num.partitions": PARTITIONS}
    with cluster.Cluster(count, shards=SHARDS, settings=settings) as brokers, tempfile.TemporaryDirectory(prefix="balsa-read-") as directory:
        for wave in waves:
            produce(brokers, wave, paths)
        for wave in waves:
            consume(brokers, wave, topics, expected, directory)
        for wave in waves:
            for worker in [Worker(client, command, "admin", brokers.addresses) for client, command in wave]:
                worker.finish()
        for topic in topics.values():
            brokers.check_replicas("at the end", topic)
            brokers.check_producers("at the end", topic)


def main():
    cluster.need("cluster_clients")
    ready, missing = prepare.commands(CLIENTS)
    for name, why in missing.items():
        balsa.skip(name, why)
    with tempfile.TemporaryDirectory(prefix="balsa-cluster-clients-") as directory:
        paths, expected = {}, {}
        now_ms = int(time.time() * 1000)
        for seed, client in enumerate(ready):
            paths[client] = os.path.join(directory, client)
            made = records.generate(seed, RECORDS, PARTITIONS, now_ms, is_strict=client in matrix.STRICT)
            expected[client], _ = records.write(paths[client], without_empty(made) if client == "kcat" else made)
        for count in BROKERS:
            run(count, ready, paths, expected)
    balsa.finish()


main()
