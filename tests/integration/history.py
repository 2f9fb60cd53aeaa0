"""Load whose history can be checked: numbered records, what was acknowledged and where, what was read, and what must hold between the two.

A record's value begins with its number and a colon. Of partition p are the numbers that are p modulo the count of partitions, so what
one partition holds must be ascending numbers of its own.
"""
import array
import bisect
import threading
import time

import balsa
import wire

WINDOW = 20000
GIVE_UP_S = 180
CLIENT = {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50, "log_level": 0}
PRODUCER = {"acks": "all", "linger.ms": 2, "retry.backoff.ms": 20, "retry.backoff.max.ms": 100, "message.timeout.ms": GIVE_UP_S * 1000,
            "topic.metadata.refresh.fast.interval.ms": 50, "socket.timeout.ms": 10000}


def number_of(value):
    return int(value.split(b":", 1)[0])


class Load(threading.Thread):
    """Sends numbered records, at a rate or as fast as they are acknowledged, until finish(); notes what was acknowledged, where and when."""

    def __init__(self, addresses, topic, partitions, rng, rate=None, sizes=(0, 10, 100, 1000, 1000, 20000), is_idempotent=True, window=WINDOW,
                 settings=None):
        super().__init__(daemon=True)
        self.addresses = addresses
        self.topic = topic
        self.partitions = partitions
        self.rng = rng
        self.rate = rate
        self.payloads = [b"x" * size for size in sizes]
        self.settings = {"bootstrap.servers": addresses, "enable.idempotence": is_idempotent, **CLIENT, **PRODUCER, **(settings or {})}
        self.window = window
        self.sent = 0
        self.completed = 0
        self.acked = {}
        self.errors = []
        self.fatal = []
        self.latency = (array.array("d"), array.array("f"))  # when acknowledged, seconds since it was sent
        self.ack_times = [array.array("d") for _ in range(partitions)]
        self.done = threading.Event()
        self.flushed = False

    def on_delivery(self, number):
        def note(error, message):
            self.completed += 1
            if error is not None:
                self.errors.append(f"record {number}: {error}")
                return
            now = time.monotonic()
            partition = message.partition()
            self.acked[number] = (partition, message.offset())
            times = self.ack_times[partition]
            if not times or now > times[-1]:
                times.append(now)
            if number % 16 == 0:
                self.latency[0].append(now)
                self.latency[1].append(message.latency())
        return note

    def note_error(self, error):
        if error.fatal():
            self.fatal.append(str(error))

    def run(self):
        from confluent_kafka import Producer
        producer = Producer({"error_cb": self.note_error, **self.settings})
        start = time.monotonic()
        while not self.done.is_set():
            if self.sent - self.completed > self.window:
                producer.poll(0.01)
                continue
            if self.rate is not None:
                early_s = start + self.sent / self.rate - time.monotonic()
                if early_s > 0:
                    producer.poll(min(early_s, 0.01))
                    continue
            try:
                producer.produce(self.topic, b"%d:" % self.sent + self.rng.choice(self.payloads), partition=self.sent % self.partitions,
                                 on_delivery=self.on_delivery(self.sent))
                self.sent += 1
            except BufferError:
                producer.poll(0.01)
            if self.sent % 50 == 0:
                producer.poll(0)
        self.flushed = producer.flush(GIVE_UP_S) == 0

    def finish(self):
        self.done.set()
        self.join(GIVE_UP_S + 30)
        return self

    def wait_acked(self, count, timeout_s=60):
        """Until `count` more records are acknowledged."""
        goal = len(self.acked) + count
        return balsa.wait_until(lambda: len(self.acked) >= goal, timeout_s)

    def gap(self, partition, since, until):
        """The longest time without an acknowledgement of the partition that touches [since, until], in seconds."""
        times = self.ack_times[partition]
        first = max(bisect.bisect_left(times, since) - 1, 0)
        last = bisect.bisect_right(times, until)
        seen = list(times[first:last + 1])
        if len(seen) < 2:
            return until - since
        return max(after - before for before, after in zip(seen, seen[1:]))

    def latencies(self, since, until):
        """Seconds from produce() to the report of every sixteenth record acknowledged in [since, until], sorted."""
        when, took = self.latency
        return sorted(took[bisect.bisect_left(when, since):bisect.bisect_right(when, until)])


def percentile(values, share):
    """Of a sorted list; 0 of an empty one."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


class Reader(threading.Thread):
    """Reads the topic from its beginning while faults go on; what it sees must be what the end of the test finds."""

    def __init__(self, addresses, topic, partitions):
        super().__init__(daemon=True)
        self.addresses = addresses
        self.topic = topic
        self.found = {p: [] for p in range(partitions)}
        self.read_times = array.array("d")
        self.errors = []
        self.restarts = 0
        self.done = threading.Event()

    def run(self):
        from confluent_kafka import Consumer, KafkaError, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.addresses, "group.id": "reader", "enable.auto.commit": False,
                             "auto.offset.reset": "error", "fetch.wait.max.ms": 100, "topic.metadata.refresh.fast.interval.ms": 50,
                             "fetch.error.backoff.ms": 20, **CLIENT})
        consumer.assign([TopicPartition(self.topic, p, 0) for p in self.found])
        while not self.done.is_set():
            messages = consumer.consume(5000, 0.1)
            is_stopped = False
            if messages:
                self.read_times.append(time.monotonic())
            for message in messages:
                if message.error() and message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    # librdkafka takes a late answer about an older epoch for one about where it is now, and stops there. Whether
                    # anything was truncated is seen by Watermarks and by check().
                    is_stopped = True
                    continue
                if message.error():
                    if not message.error().retriable():
                        self.errors.append(str(message.error()))
                    continue
                self.found[message.partition()].append((message.offset(), number_of(message.value())))
            if is_stopped:
                self.restarts += 1
                consumer.assign([TopicPartition(self.topic, p, len(seen)) for p, seen in self.found.items()])
        consumer.close()

    def finish(self):
        self.done.set()
        self.join(60)
        return self

    def check(self, what, found):
        """Against what read_all() found afterwards."""
        for partition, seen in self.found.items():
            balsa.check(seen == found[partition][:len(seen)], f"{what}: what was read of partition {partition} while faults went on is its beginning")
        balsa.check(not self.errors, f"{what}: the reader saw {len(self.errors)} errors, such as {self.errors[:2]}")

    def gap(self, since, until):
        """The longest time without a record of any partition that touches [since, until]."""
        first = max(bisect.bisect_left(self.read_times, since) - 1, 0)
        seen = list(self.read_times[first:bisect.bisect_right(self.read_times, until) + 1])
        return max((after - before for before, after in zip(seen, seen[1:])), default=until - since)


class Watermarks(threading.Thread):
    """Asks every broker for the end of each partition, all the time: who answers must never tell less than anybody has told before."""

    def __init__(self, nodes, topic, partitions):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.topic = topic
        self.ends = [0] * partitions
        self.answers = 0
        self.backwards = []
        self.done = threading.Event()

    def ask(self, node):
        with wire.Client(node.port, 2, node.host) as client:
            for partition, before in enumerate(self.ends):
                error, end = client.list_offset(self.topic, partition, -1)
                if error == wire.NONE:
                    self.answers += 1
                    if end < before:
                        self.backwards.append((node.number, partition, end, before))
                    self.ends[partition] = max(end, before)

    def run(self):
        while not self.done.wait(0.02):
            for node in self.nodes():
                try:
                    self.ask(node)
                except OSError:
                    continue

    def finish(self):
        self.done.set()
        self.join(60)
        return self

    def check(self, what):
        balsa.check(self.answers > 0, f"{what}: brokers tell where partitions end")
        balsa.check(not self.backwards, f"{what}: {len(self.backwards)} ends went back, (broker, partition, end, told before): {self.backwards[:3]}")


def read_all(addresses, topic, partitions, timeout_s=120):
    """{partition: [(offset, number)]} of everything in the topic."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition
    consumer = Consumer({"bootstrap.servers": addresses, "group.id": "check", "enable.auto.commit": False, "enable.partition.eof": True,
                         "auto.offset.reset": "earliest", **CLIENT})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    found = {p: [] for p in range(partitions)}
    ended = set()
    silent_since = time.monotonic()
    while len(ended) < partitions:
        for message in consumer.consume(5000, 1.0):
            silent_since = time.monotonic()
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            found[message.partition()].append((message.offset(), number_of(message.value())))
        if time.monotonic() - silent_since > timeout_s:
            balsa.check(False, f"{topic}: partitions {sorted(set(found) - ended)} do not come to an end within {timeout_s} s")
            break
    consumer.close()
    return found


def anomalies(acked, sent, found, partitions, is_idempotent=True):
    """What is wrong with a history, as a list of (kind, count, examples); empty: nothing.

    acked: {number: (partition, offset)}, sent: how many numbers were given out, found: {partition: [(offset, number)]}. An offset of None is
    an acknowledgement without one: librdkafka gives it when a later batch of the producer is acknowledged, as sequence numbers then say
    that the earlier one is there."""
    where = {}
    wrong = {kind: [] for kind in ("not dense", "duplicate", "invented", "out of order", "lost", "wrong partition")}
    for partition, records in found.items():
        before = -1
        for due, (offset, number) in enumerate(records):
            if offset != due:
                wrong["not dense"].append((partition, due, offset))
                break
        for offset, number in records:
            if number in where:
                wrong["duplicate"].append((number, where[number], (partition, offset)))
            elif number < before:
                wrong["out of order"].append((number, (partition, offset)))
            if number >= sent:
                wrong["invented"].append((number, (partition, offset)))
            if number % partitions != partition:
                wrong["wrong partition"].append((number, (partition, offset)))
            where.setdefault(number, (partition, offset))
            before = max(before, number)
    if not is_idempotent:
        wrong["duplicate"] = wrong["out of order"] = []
        places = {(p, offset): number for p, records in found.items() for offset, number in records}
        wrong["lost"] = [(number, place, places.get(place)) for number, place in acked.items() if places.get(place) != number]
    else:
        for number, (partition, offset) in acked.items():
            at = where.get(number)
            if at is None or at[0] != partition or offset not in (None, at[1]):
                wrong["lost"].append((number, (partition, offset), at))
    return [(kind, len(cases), cases[:3]) for kind, cases in wrong.items() if cases]


def verify(what, load, found):
    """Nothing acknowledged is lost or elsewhere, nothing is there twice or invented, offsets are dense, order is kept; nothing was given up."""
    is_idempotent = load.settings["enable.idempotence"]
    wrong = anomalies(load.acked, load.sent, found, load.partitions, is_idempotent)
    balsa.check(not wrong, f"{what}: " + "; ".join(f"{kind}: {count}, such as {cases}" for kind, count, cases in wrong))
    balsa.check(not load.errors, f"{what}: {len(load.errors)} records given up, such as {load.errors[:2]}")
    balsa.check(not load.fatal, f"{what}: fatal errors of the producer: {load.fatal[:2]}")
    balsa.check(load.flushed, f"{what}: all that was sent is acknowledged within {GIVE_UP_S} s")
    return sum(len(records) for records in found.values())
