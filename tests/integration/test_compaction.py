"""A compacted topic ends in the last value of each key, in order and at unchanged offsets, while load and kills go on.

One producer outlives all kills of brokers: update number n is due at offset n, and is told apart from all others by its value. A reader goes through the
topic again and again meanwhile: what it finds must hold, too. First one broker, in each codec, then three, one of which is killed at a time; replicas have
the same segments in the end. Kafka's own dump tool reads the segments.

LONG=1: 10,000,000 updates of 100,000 keys, as fast as they are taken. UPDATES, KEYS, RATE (a second, 0: as fast as can be) and KILL_EVERY set each for itself.
"""
import array
import os
import random
import threading
import time

import balsa
import cluster
import history
import kafka_dump

IS_LONG = os.environ.get("LONG", "0") == "1"
UPDATES = int(os.environ.get("UPDATES", "10000000" if IS_LONG else "300000"))
KEYS = int(os.environ.get("KEYS", "100000" if IS_LONG else "3000"))
RATE = int(os.environ.get("RATE", "0" if IS_LONG else "20000"))
SECONDS_BETWEEN_KILLS = float(os.environ.get("KILL_EVERY", "20" if IS_LONG else "3"))
SECONDS_BETWEEN_PASSES = 10 if IS_LONG else 2
QUIET_S = 300 if IS_LONG else 60
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SETTINGS = {
    "log.cleanup.policy": "compact",
    "log.segment.bytes": 1048576,
    "log.roll.ms": 5000,
    "log.cleaner.backoff.ms": 200,
    "log.cleaner.delete.retention.ms": 86400000,
    "balsa.checkpoint.interval.ms": 500,
}
PAYLOAD = b"x" * 80


def addresses_of(brokers):
    return brokers.addresses if isinstance(brokers, cluster.Cluster) else brokers.address


class Updates:
    """Numbered updates of random keys to partition 0 of a topic; what each was is kept."""

    def __init__(self, brokers, topic, codec):
        from confluent_kafka import Producer
        self.topic = topic
        self.codes = array.array("i")  # by number: key * 2 + 1 of a tombstone, key * 2 of a value
        self.acked = 0                 # of one partition's idempotent producer: the first so many
        self.last = array.array("i", [-1] * KEYS)  # by key: its last acknowledged update
        self.newest = array.array("i", [-1] * KEYS)  # by key: its last update, acknowledged or not
        self.wrong = []
        self.fatal = []
        self.producer = Producer({"bootstrap.servers": addresses_of(brokers), "enable.idempotence": True, "compression.type": codec,
                                  "batch.size": 16384, "error_cb": self.note_error, **history.CLIENT, **history.PRODUCER})

    def note_error(self, error):
        if error.fatal():
            self.fatal.append(str(error))

    def on_delivery(self, error, message):
        number = self.acked
        self.acked += 1
        self.last[self.codes[number] >> 1] = number
        # None: acknowledged by a later batch's acknowledgement, see history.anomalies().
        if error is not None or message.offset() not in (None, number):
            self.wrong.append(f"update {number}: {error or message.offset()}")

    def send(self, count):
        """Returns when all are acknowledged."""
        start = time.monotonic()
        poll = self.producer.poll
        for number in range(count):
            key = random.randrange(KEYS)
            is_tombstone = random.random() < 0.02
            self.codes.append(key * 2 + is_tombstone)
            self.newest[key] = number
            value = None if is_tombstone else b"%d-%s" % (number, PAYLOAD[random.randrange(80):])
            while True:
                try:
                    self.producer.produce(self.topic, value, b"k%d" % key, 0, on_delivery=self.on_delivery)
                    break
                except BufferError:
                    poll(0.01)
            if number % 50 == 0:
                poll(0)
                while number - self.acked > history.WINDOW:
                    poll(0.01)
                while RATE and number > RATE * (time.monotonic() - start):
                    poll(0.005)
            if number % 1000000 == 0 and number:
                print(f"    {self.topic}: {number} updates sent in {time.monotonic() - start:.0f} s", flush=True)
        left = self.producer.flush(history.GIVE_UP_S)
        balsa.check(left == 0 and self.acked == count, f"{self.topic}: {self.acked} of {count} updates are acknowledged")
        balsa.check(not self.wrong, f"{self.topic}: {len(self.wrong)} updates failed or are at other offsets, such as {self.wrong[:3]}")
        balsa.check(not self.fatal, f"{self.topic}: the producer stays fit: {self.fatal[:2]}")
        print(f"  {self.topic}: {count} updates in {time.monotonic() - start:.0f} s", flush=True)


def read(brokers, topic, end):
    """Yields (offset, key, value) of what there is below `end`, value None for a tombstone."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition
    consumer = Consumer({"bootstrap.servers": addresses_of(brokers), "group.id": "check", "enable.auto.commit": False, "enable.partition.eof": True,
                         "auto.offset.reset": "error", "check.crcs": True, **history.CLIENT})
    position = 0
    silent_since = time.monotonic()
    try:
        consumer.assign([TopicPartition(topic, 0, position)])
        while position < end:
            if time.monotonic() - silent_since > history.GIVE_UP_S:
                balsa.check(False, f"{topic}: nothing comes behind offset {position} of {end} within {history.GIVE_UP_S} s")
                return
            for message in consumer.consume(5000, 0.5):
                error = message.error()
                if error is None:
                    silent_since = time.monotonic()
                    position = message.offset() + 1
                    if position > end:
                        return
                    yield position - 1, message.key(), message.value()
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = max(position, message.offset())
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    consumer.assign([TopicPartition(topic, 0, position)])  # as history.Reader does
    finally:
        consumer.close()


def check_rows(what, brokers, updates):
    """What is there now against what was acknowledged before; how many records. A key's last update may be gone only when it was updated again."""
    last = updates.last[:]
    end = updates.acked  # behind all of `last`
    found = array.array("i", [-1] * KEYS)
    count = 0
    before = -1
    wrong = []
    for offset, key, value in read(brokers, updates.topic, end):
        code = updates.codes[offset]
        if offset <= before:
            wrong.append(f"offset {offset} behind {before}")
        if key != b"k%d" % (code >> 1) or (value is None) != bool(code & 1) or (value and int(value.split(b"-", 1)[0]) != offset):
            wrong.append(f"offset {offset} has key {key} and value {value and value[:20]} where key k{code >> 1} was updated")
        found[code >> 1] = offset
        before = offset
        count += 1
    balsa.check(not wrong, f"{what}: {len(wrong)} records are not what was written there, such as {wrong[:3]}")
    newest = updates.newest[:]
    lost = [(f"k{key}", number, found[key]) for key, number in enumerate(last) if found[key] < number == newest[key]]
    balsa.check(not lost, f"{what}: {len(lost)} keys end in an older value, (key, last update, found): {lost[:3]}")
    return count


class Reader(threading.Thread):
    """Reads all there is, again and again, while updates, compactions and kills go on."""

    def __init__(self, brokers, updates):
        super().__init__(daemon=True)
        self.brokers = brokers
        self.updates = updates
        self.ending = threading.Event()
        self.counts = []

    def run(self):
        while not self.ending.wait(SECONDS_BETWEEN_PASSES):
            if self.updates.acked:
                self.counts.append(check_rows(f"{self.updates.topic}, meanwhile", self.brokers, self.updates))

    def end(self):
        self.ending.set()
        self.join()
        print(f"    read {len(self.counts)} times meanwhile, at most {max(self.counts, default=0)} records", flush=True)


class Killer(threading.Thread):
    """kill -9 and a start again, for as long as it runs."""

    def __init__(self, *brokers):
        super().__init__(daemon=True)
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


def update(brokers, topic, codec, count):
    updates = Updates(brokers, topic, codec)
    reader = Reader(brokers, updates)
    reader.start()
    updates.send(count)
    reader.end()
    return updates


def wait_compacted(broker, updates):
    """A share of the closed segments may be dirty; but most is gone."""
    most = max(updates.acked // 3, 2 * KEYS)
    balsa.wait_until(lambda: check_rows(updates.topic, broker, updates) < most, QUIET_S, 2)
    count = check_rows(updates.topic, broker, updates)
    balsa.check(count < most, f"{updates.topic}: {count} records are left of {updates.acked}, with {KEYS} keys")
    print(f"  {updates.topic}: {count} records left of {updates.acked}, {KEYS} keys, {sizes(broker, updates.topic)} bytes", flush=True)


def one_broker():
    with balsa.Broker(shards=2, settings=SETTINGS) as broker:
        killer = Killer(broker)
        killer.start()
        topics = [update(broker, f"compacted-{codec}", codec, UPDATES if codec == "none" else UPDATES // 10) for codec in CODECS]
        killer.end()
        print(f"  {killer.kills} kills", flush=True)
        for updates in topics:
            check_rows(updates.topic, broker, updates)
        for updates in topics:
            wait_compacted(broker, updates)
        broker.kill()
        broker.start()
        for updates in topics:
            check_rows(f"{updates.topic}, started again", broker, updates)
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
    """Everything is closed and compacted in the end."""
    config = {"min.cleanable.dirty.ratio": "0.01"}
    with cluster.Cluster(3, shards=2, settings=SETTINGS) as brokers:
        brokers.wait_ready()
        brokers.create("everywhere", 1, config=config)
        killer = Killer(*brokers.nodes.values())
        killer.start()
        updates = update(brokers, "everywhere", "lz4", UPDATES)
        killer.end()
        brokers.wait_led("everywhere")
        print(f"  three brokers: {killer.kills} kills", flush=True)
        keys = sum(number >= 0 for number in updates.last)
        balsa.wait_until(lambda: check_rows("everywhere", brokers, updates) <= keys, QUIET_S, 2)
        count = check_rows("everywhere", brokers, updates)
        balsa.check(count == keys, f"{count} records are left of {keys} keys")
        brokers.check_replicas("three brokers", "everywhere", 60)
        for number in brokers.nodes:
            names = os.listdir(brokers.directory(number, "everywhere", 0))
            balsa.check(any(name.count(".") == 2 for name in names), f"broker {number} has compacted segments: {sorted(names)[:4]}")
            print(f"  broker {number}: {len(names)} files, {brokers.size(number, 'everywhere', 0)} bytes", flush=True)


def main():
    cluster.need("compaction")
    one_broker()
    three_brokers()
    balsa.finish()


main()
