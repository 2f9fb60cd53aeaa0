"""kill -9 at random moments under load: every acknowledged record is there, at the offset that was acknowledged, once; nothing that was
not sent is there; offsets are dense.

An idempotent producer (confluent-kafka) writes numbered records to several partitions while the broker is killed and started
again; at the end everything is read back. KILLS=200 SHARDS="1 4" for the long run; the default is short.
"""
import os
import random
import threading
import time

import balsa

KILLS = int(os.environ.get("KILLS", "12"))
SHARDS = [int(n) for n in os.environ.get("SHARDS", "1 4").split()]
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 30))))
PARTITIONS = 6
WINDOW = 20000


class Load(threading.Thread):
    """Sends numbered records until told to stop; notes what was acknowledged, and where."""

    def __init__(self, address, rng):
        super().__init__()
        self.address = address
        self.rng = rng
        self.sent = 0
        self.acked = {}
        self.errors = []
        self.done = threading.Event()

    def on_delivery(self, number):
        def note(error, message):
            if error is not None:
                self.errors.append(f"record {number}: {error}")
            else:
                self.acked[number] = (message.partition(), message.offset())
        return note

    def run(self):
        from confluent_kafka import Producer
        producer = Producer({
            "bootstrap.servers": self.address, "enable.idempotence": True, "acks": "all", "linger.ms": 2,
            "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 20,
            "message.timeout.ms": 120000, "log_level": 0,
        })
        while not self.done.is_set():
            size = self.rng.choice((0, 10, 100, 1000, 1000, 20000))
            value = b"%d:" % self.sent + b"x" * size
            if self.sent - len(self.acked) - len(self.errors) > WINDOW:
                producer.poll(0.01)
                continue
            try:
                producer.produce("kill", value, partition=self.sent % PARTITIONS, on_delivery=self.on_delivery(self.sent))
                self.sent += 1
            except BufferError:
                producer.poll(0.01)
            if self.sent % 50 == 0:
                producer.poll(0)
        producer.flush(120)


def read_all(address):
    """{partition: [(offset, number)]} of everything in the topic."""
    from confluent_kafka import Consumer, TopicPartition, KafkaError
    consumer = Consumer({"bootstrap.servers": address, "group.id": "check", "enable.auto.commit": False,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("kill", p, 0) for p in range(PARTITIONS)])
    found = {p: [] for p in range(PARTITIONS)}
    ended = set()
    while len(ended) < PARTITIONS:
        for message in consumer.consume(5000, 1.0):
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            found[message.partition()].append((message.offset(), int(message.value().split(b":", 1)[0])))
    consumer.close()
    return found


def verify(what, load, found):
    where = {}
    duplicates = []
    for partition, records in found.items():
        offsets = [offset for offset, _ in records]
        balsa.check(offsets == list(range(len(offsets))), f"{what}: partition {partition}: offsets are dense from 0")
        for offset, number in records:
            if number in where:
                duplicates.append(number)
            where[number] = (partition, offset)
    lost = [n for n, place in load.acked.items() if where.get(n) != place]
    invented = [n for n in where if n >= load.sent]
    balsa.check(not lost, f"{what}: {len(lost)} acknowledged records not where they were acknowledged, such as "
                          f"{[(n, load.acked[n], where.get(n)) for n in lost[:3]]}")
    balsa.check(not duplicates, f"{what}: {len(duplicates)} records twice, such as {duplicates[:3]}")
    balsa.check(not invented, f"{what}: {len(invented)} records that were never sent")
    balsa.check(not load.errors, f"{what}: {len(load.errors)} records given up, such as {load.errors[:2]}")
    return where


def run(shards):
    rng = random.Random(SEED + shards)
    what = f"{shards} shards, seed {SEED}"
    settings = {"num.partitions": PARTITIONS, "balsa.wal.file.bytes": 32 << 20, "balsa.wal.max.bytes": 128 << 20,
                "balsa.checkpoint.interval.ms": 500, "log.segment.bytes": 1 << 20}
    with balsa.Broker(shards=shards, settings=settings) as broker:
        load = Load(broker.address, rng)
        load.start()
        try:
            for _ in range(KILLS):
                time.sleep(rng.uniform(0.05, 0.8))
                broker.kill()
                broker.start()
            time.sleep(0.5)
        finally:
            load.done.set()
            load.join(150)
        found = read_all(broker.address)
        where = verify(what, load, found)
        print(f"  {what}: {KILLS} kills, {load.sent} sent, {len(load.acked)} acknowledged, {len(where)} read", flush=True)


def main():
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        balsa.skip("kill", "confluent-kafka is not installed")
        balsa.finish()
    for shards in SHARDS:
        run(shards)
    balsa.finish()


main()
