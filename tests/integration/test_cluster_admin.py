"""Administration through any of three brokers: who asks a broker that is not the controller gets the controller's answer, and sees what it
did at once through the same broker. The controller is killed while others ask; what was answered is so, and nothing is done twice. A client
that asks the wrong broker for a partition is told the right one in the answer. ROUNDS=10 for more deaths of controllers.
"""
import os
import struct
import threading
import time

import balsa
import cluster
import wire

ROUNDS = int(os.environ.get("ROUNDS", "2"))
SHARDS = int(os.environ.get("SHARDS", "2"))
CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID, CREATE_PARTITIONS, METADATA = 19, 20, 22, 37, 3
UNKNOWN_TOPIC, NOT_LEADER, TIMED_OUT, EXISTS, NOT_CONTROLLER, INVALID_PARTITIONS, FACTOR = 3, 6, 7, 36, 41, 37, 38


class Reader:
    """Classic and flexible fields."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, kind):
        return struct.unpack(">" + kind, self.take(struct.calcsize(">" + kind)))[0]

    def text(self):
        size = self.number("h")
        return None if size < 0 else self.take(size).decode()

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def compact(self):
        size = self.uvarint()
        return None if size == 0 else self.take(size - 1).decode()

    def tags(self):
        found = {}
        for _ in range(self.uvarint()):
            tag = self.uvarint()
            found[tag] = Reader(self.take(self.uvarint()))
        return found


def ask(node, api, version, body, timeout_s=60):
    with wire.Client(node.port, timeout_s, node.host) as client:
        return Reader(client.call(wire.frame(api, version, body)))


def create(node, topic, partitions=3, factor=3, timeout_ms=20000, validate_only=False):
    """(error, message) of CreateTopics, version 4."""
    body = struct.pack(">i", 1) + wire.text(topic) + struct.pack(">ihiiib", partitions, factor, 0, 0, timeout_ms, validate_only)
    reader = ask(node, CREATE_TOPICS, 4, body)
    reader.number("i")
    reader.number("i")
    reader.text()
    return reader.number("h"), reader.text()


def add(node, topic, count, timeout_ms=20000):
    """(error, message) of CreatePartitions, version 1."""
    reader = ask(node, CREATE_PARTITIONS, 1, struct.pack(">i", 1) + wire.text(topic) + struct.pack(">iiib", count, -1, timeout_ms, 0))
    reader.number("i")
    reader.number("i")
    reader.text()
    return reader.number("h"), reader.text()


def delete(node, topic, timeout_ms=20000):
    """Error of DeleteTopics, version 3."""
    reader = ask(node, DELETE_TOPICS, 3, struct.pack(">i", 1) + wire.text(topic) + struct.pack(">i", timeout_ms))
    reader.number("i")
    reader.number("i")
    reader.text()
    return reader.number("h")


def producer_id(node):
    """(error, id) of InitProducerId, version 1."""
    reader = ask(node, INIT_PRODUCER_ID, 1, struct.pack(">hi", -1, 60000))
    reader.number("i")
    return reader.number("h"), reader.number("q")


def asked_for(node, topic):
    """[(error, leader)] of a topic's partitions in Metadata, version 4, with auto-creation; the topic's error as well."""
    reader = ask(node, METADATA, 4, struct.pack(">i", 1) + wire.text(topic) + b"\x01")
    reader.number("i")
    for _ in range(reader.number("i")):
        reader.number("i"), reader.text(), reader.number("i"), reader.text()
    reader.text()
    reader.number("i")
    reader.number("i")
    error, _, _ = reader.number("h"), reader.text(), reader.number("b")
    found = []
    for _ in range(reader.number("i")):
        partition_error, _, leader = reader.number("h"), reader.number("i"), reader.number("i")
        for _ in range(2):
            reader.take(4 * reader.number("i"))
        found.append((partition_error, leader))
    return error, found


def led(node, topic):
    """Leaders of its partitions as this broker knows them now; None: it does not know the topic."""
    found = node.metadata().topics.get(topic)
    return None if found is None else [p.leader for p in found]


def each_broker(brokers):
    """Everything through every broker, the controller among them."""
    controller = brokers.controller()
    for number, node in brokers.nodes.items():
        who = f"broker {number}{' (controller)' if number == controller else ''}"
        topic = f"admin-{number}"
        start = time.monotonic()
        answer = create(node, topic)
        took = time.monotonic() - start
        balsa.check(answer == (0, None), f"{who}: create: {answer}")
        leaders = led(node, topic)
        balsa.check(leaders is not None and len(leaders) == 3 and min(leaders) > 0, f"{who}: created and led at once: {leaders}")
        balsa.check(create(node, topic)[0] == EXISTS, f"{who}: create it again")
        balsa.check(create(node, topic + "-dry", validate_only=True)[0] == 0 and led(node, topic + "-dry") is None, f"{who}: validate only")
        balsa.check(create(node, topic + "-x", factor=4)[0] == FACTOR, f"{who}: more replicas than brokers")
        balsa.check(add(node, topic, 5) == (0, None), f"{who}: add partitions")
        leaders = led(node, topic)
        balsa.check(leaders is not None and len(leaders) == 5 and min(leaders) > 0, f"{who}: added and led at once: {leaders}")
        balsa.check(add(node, topic, 5)[0] == INVALID_PARTITIONS, f"{who}: add none")
        error, found = asked_for(node, f"auto-{number}")
        balsa.check(error == 0 and found and all(e == 0 and leader > 0 for e, leader in found), f"{who}: created by asking: {error} {found}")
        balsa.check(delete(node, topic) == 0 and led(node, topic) is None, f"{who}: deleted, and gone at once")
        balsa.check(delete(node, topic) == UNKNOWN_TOPIC, f"{who}: delete it again")
        print(f"  {who}: a topic created in {took * 1000:.0f} ms", flush=True)
    ids = [producer_id(node) for node in brokers.nodes.values() for _ in range(5)]
    balsa.check(all(error == 0 for error, _ in ids) and len({i for _, i in ids}) == len(ids), f"producer ids are given out once: {ids}")
    balsa.check(brokers.controller() == controller, "the controller stayed")


def others_see_leaders(brokers):
    """Who asks another broker for all topics while they are made sees none without a leader: kafkajs takes such a one for a failure of its own call."""
    without = []
    for number in range(12):
        topic = f"seen-{number}"
        maker = threading.Thread(target=create, args=(brokers[1 + number % 3], topic, 6))
        maker.start()
        asked = brokers[1 + (number + 1) % 3]
        found = balsa.wait_until(lambda: asked.metadata().topics.get(topic), 20, 0.001)
        maker.join()
        if not found or any(partition.leader < 0 for partition in found):
            without.append((topic, found))
    balsa.check(not without, f"{len(without)} of 12 topics are seen without leaders, such as {without[:1]}")


def produce_hint(node, topic, partition):
    """Produce, version 10: (error, (leader, epoch) or None, {node: (host, port)})."""
    records = wire.batch([b"x"])
    name = topic.encode()
    body = struct.pack(">bhib", 0, -1, 5000, 2) + bytes((len(name) + 1,)) + name + struct.pack(">bi", 2, partition)
    body += bytes(((len(records) + 1) & 0x7f | 0x80, (len(records) + 1) >> 7)) + records + b"\0\0\0"
    with wire.Client(node.port, 20, node.host) as client:
        reader = Reader(client.call(wire.frame(wire.PRODUCE, 10, b"\0" + body)))
    reader.tags()
    reader.uvarint()
    reader.compact()
    reader.uvarint()
    _, error, _, _, _ = (reader.number(kind) for kind in "ihqqq")
    reader.uvarint()
    reader.compact()
    tags = reader.tags()
    leader = (tags[0].number("i"), tags[0].number("i")) if 0 in tags else None
    reader.tags()
    reader.number("i")
    endpoints = {}
    tags = reader.tags()
    if 0 in tags:
        for _ in range(tags[0].uvarint() - 1):
            at = tags[0].number("i")
            endpoints[at] = (tags[0].compact(), tags[0].number("i"))
            tags[0].compact()
            tags[0].tags()
    return error, leader, endpoints


def wrong_broker(brokers):
    """A partition asked of a broker that does not lead it."""
    topic = "hints"
    brokers.create(topic, 3)
    for partition in range(3):
        leader = brokers.leader_of(topic, partition)
        for number, node in brokers.nodes.items():
            error, hint, endpoints = produce_hint(node, topic, partition)
            what = f"hints-{partition}, led by {leader}, asked of {number}"
            with wire.Client(node.port, 20, node.host) as client:
                fetched = client.fetch(topic, partition, 0)[0]
                listed = client.list_offset(topic, partition, -1)[0]
            if number == leader:
                balsa.check(error == 0 and hint is None and not endpoints and fetched == 0 and listed == 0, f"{what}: {error} {hint} {endpoints}")
                continue
            balsa.check(error == NOT_LEADER and fetched == NOT_LEADER and listed == NOT_LEADER, f"{what}: {error} {fetched} {listed}")
            balsa.check(hint is not None and hint[0] == leader and hint[1] > 0, f"{what}: hint {hint}")
            balsa.check(endpoints == {leader: (brokers[leader].host, brokers[leader].port)}, f"{what}: endpoints {endpoints}")
            with wire.Client(node.port, 20, node.host) as client:
                client.socket.sendall(wire.produce(topic, partition, wire.batch([b"lost"]), 0))
                try:
                    client.receive(1)
                    closed = False
                except ConnectionError:
                    closed = True
                balsa.check(closed, f"{what}: acks=0 closes the connection")


class Creator(threading.Thread):
    """Creates topics through one broker until told to stop."""

    def __init__(self, node, prefix):
        super().__init__(daemon=True)
        self.node = node
        self.prefix = prefix
        self.answers = {}
        self.good_at = []
        self.is_stopping = False

    def run(self):
        number = 0
        while not self.is_stopping:
            topic = f"{self.prefix}-{number}"
            try:
                self.answers[topic] = create(self.node, topic, 1)[0]
            except OSError as error:
                self.answers[topic] = str(error)
            if self.answers[topic] == 0:
                self.good_at.append(time.monotonic())
            if self.answers[topic] == FACTOR:
                return  # the broker that died is known to be away: too few for three replicas
            number += 1


def controller_dies(brokers, round_number):
    controller = brokers.controller()
    others = [node for number, node in brokers.nodes.items() if number != controller]
    creators = [Creator(node, f"death-{round_number}-{node.number}-{n}") for node in others for n in range(3)]
    for creator in creators:
        creator.start()
    time.sleep(1.5)
    brokers.kill(controller)
    killed = time.monotonic()
    balsa.wait_until(lambda: all((c.good_at and c.good_at[-1] > killed) or not c.is_alive() for c in creators), 40)
    good_at = [next((at - killed for at in c.good_at if at > killed), None) for c in creators]
    for creator in creators:
        creator.is_stopping = True
    for creator in creators:
        creator.join(60)
        balsa.check(not creator.is_alive(), f"{creator.prefix}: answered")
    answers = {topic: error for creator in creators for topic, error in creator.answers.items()}
    strange = {topic: error for topic, error in answers.items() if error not in (0, TIMED_OUT, NOT_CONTROLLER, FACTOR)}
    balsa.check(not strange, f"codes of {len(strange)} creations while the controller dies, such as {dict(list(strange.items())[:5])}")
    balsa.check(any(at is not None for at in good_at), f"creations go on with the next controller: {good_at}")
    balsa.check(sum(error == NOT_CONTROLLER for error in answers.values()) == 0, "they wait for the next controller")
    for node in others:
        known = node.metadata().topics
        missing = [topic for topic, error in answers.items() if error == 0 and topic not in known]
        balsa.check(not missing, f"broker {node.number} knows what was answered: {missing[:5]}")
    doubts = sum(error == TIMED_OUT for error in answers.values())
    print(f"  controller {controller} killed: {len(answers)} creations, {doubts} in doubt, went on after {[round(at, 1) for at in good_at if at]} s", flush=True)
    brokers.start(controller)
    brokers.wait_ready()
    missing = balsa.wait_until(lambda: all(t in brokers[controller].metadata().topics for t, e in answers.items() if e == 0), 20)
    balsa.check(missing, f"broker {controller} learns of them when it is back")


def broker_stops(brokers, is_controller):
    """A clean stop while requests are on their way through it, or to it."""
    controller = brokers.controller()
    victim = controller if is_controller else next(n for n in brokers.nodes if n != controller)
    what = f"broker {victim}{' (controller)' if is_controller else ''}"
    creators = [Creator(node, f"stop-{is_controller}-{node.number}-{n}") for node in brokers.nodes.values() for n in range(2)]
    for creator in creators:
        creator.start()
    time.sleep(1)
    start = time.monotonic()
    code = brokers.stop(victim)
    took = time.monotonic() - start
    balsa.check(code == 0 and took < 15, f"{what} stops: code {code} after {took:.1f} s:\n{brokers[victim].log_tail()}")
    time.sleep(1)
    for creator in creators:
        creator.is_stopping = True
    for creator in creators:
        creator.join(60)
        balsa.check(not creator.is_alive(), f"{creator.prefix}: answered")
    answers = {t: e for c in creators if c.node.number != victim for t, e in c.answers.items()}
    strange = {topic: error for topic, error in answers.items() if error not in (0, TIMED_OUT, FACTOR)}
    balsa.check(not strange, f"codes of creations while {what} stops: {dict(list(strange.items())[:5])}")
    print(f"  {what} stopped in {took:.1f} s under {len(answers)} creations", flush=True)
    brokers.start(victim)
    brokers.wait_ready()


def main():
    cluster.need("cluster_admin")
    with cluster.Cluster(3, shards=SHARDS) as brokers:
        each_broker(brokers)
        others_see_leaders(brokers)
        wrong_broker(brokers)
        for round_number in range(ROUNDS):
            controller_dies(brokers, round_number)
        broker_stops(brokers, False)
        broker_stops(brokers, True)
    balsa.finish()


main()
