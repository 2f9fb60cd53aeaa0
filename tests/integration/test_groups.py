"""Consumer groups with real clients: members join, leave, are killed and stopped; static members restart; the coordinator dies.

MEMBERS=10, PARTITIONS=900: how long a dead member's partitions are without a consumer, by default with fewer of both.
"""
import collections
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import balsa
import cluster
import history

cluster.need("groups")
from confluent_kafka import ConsumerGroupState, Producer  # noqa: E402
from confluent_kafka.admin import AdminClient  # noqa: E402

MEMBERS = int(os.environ.get("MEMBERS", "5"))
PARTITIONS = int(os.environ.get("PARTITIONS", "90"))
SESSION_MS = 6000
HEARTBEAT_MS = 300
SLACK = float(os.environ.get("SLACK", "10"))
FAST = {"group.initial.rebalance.delay.ms": "300"}

# One member in a process of its own. Says each change: "<ms> assigned 0,3,5", "<ms> read <partition> <count>".
MEMBER = r"""
import json, os, sys, time
from confluent_kafka import Consumer
config, topic = json.loads(sys.argv[1]), sys.argv[2]
def say(*words):
    print(time.monotonic_ns() // 1000000, *words, flush=True)
def told(what):
    return lambda consumer, partitions: say(what, ",".join(str(p.partition) for p in partitions))
consumer = Consumer(config)
consumer.subscribe([topic], on_assign=told("assigned"), on_revoke=told("revoked"), on_lost=told("lost"))
seen = set()
while True:
    message = consumer.poll(0.1)
    if message is not None and message.error() is None:
        say("read", message.partition(), message.offset())
    elif message is not None:
        say("error", message.error().name())
"""


class Member:
    def __init__(self, address, group, topic, **config):
        import json
        config = {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": SESSION_MS,
                  "heartbeat.interval.ms": HEARTBEAT_MS, "enable.auto.commit": True, "auto.commit.interval.ms": 200,
                  "fetch.wait.max.ms": 100, **config}
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([sys.executable, "-c", MEMBER, json.dumps(config), topic], stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)
        self.partitions = set()
        self.events = []  # (ms, what, partitions)
        self.last_read = {}  # partition: (ms, offset)
        self.failures = []
        self.is_cooperative = "cooperative" in config.get("partition.assignment.strategy", "")
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            ms, what, *rest = line.split()
            if what == "read":
                self.last_read[int(rest[0])] = int(ms), int(rest[1])
            elif what == "error":
                self.failures.append(rest[0])
            else:
                numbers = {int(n) for n in rest[0].split(",")} if rest else set()
                self.events.append((int(ms), what, numbers))
                if what == "assigned":
                    self.partitions = self.partitions | numbers if self.is_cooperative else numbers
                else:
                    self.partitions = self.partitions - numbers

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


def shares(members):
    """How often each partition is owned."""
    return collections.Counter(p for member in members for p in member.partitions)


def all_owned(members, count):
    owned = shares(members)
    return len(owned) == count and all(n == 1 for n in owned.values()) and all(m.partitions for m in members)


def wait_owned(what, members, count, timeout_s=60):
    ok = balsa.wait_until(lambda: all_owned(members, count), timeout_s)
    return balsa.check(ok, f"{what}: {[sorted(m.partitions)[:10] for m in members]}, events {[m.events[-3:] for m in members]}")


def describe(address, group):
    admin = AdminClient({"bootstrap.servers": address})
    return admin.describe_consumer_groups([group], request_timeout=20)[group].result()


class Load:
    """Writes a record to every partition, again and again."""

    def __init__(self, address, topic, partitions, pause_s=0.1):
        self.producer = Producer({"bootstrap.servers": address, "linger.ms": 5, **history.CLIENT})
        self.topic, self.partitions, self.pause_s = topic, partitions, pause_s
        self.is_running = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.is_running:
            for partition in range(self.partitions):
                try:
                    self.producer.produce(self.topic, b"x", partition=partition)
                except BufferError:
                    pass
            self.producer.poll(0)
            time.sleep(self.pause_s)

    def end(self):
        self.is_running = False
        self.thread.join()
        self.producer.flush(10)


def generation(broker_or_cluster, group):
    """The last generation that any broker's log tells."""
    nodes = broker_or_cluster.nodes.values() if hasattr(broker_or_cluster, "nodes") else [broker_or_cluster]
    found = 0
    for node in nodes:
        with open(node.log_path, encoding="utf-8", errors="replace") as log:
            for line in log:
                if "group has a new generation" in line and f" group={group} " in line:
                    found = max(found, int(line.split(" generation=")[1].split()[0]))
    return found


def test_life():
    """Members come, leave, are killed and stopped."""
    with balsa.Broker(shards=2, settings=FAST) as broker:
        history_topic(broker.address, "t", 12)
        members = [Member(broker.address, "life", "t")]
        wait_owned("one member has all", members, 12)
        members.append(Member(broker.address, "life", "t"))
        members.append(Member(broker.address, "life", "t"))
        wait_owned("three members share", members, 12)
        found = describe(broker.address, "life")
        balsa.check(found.state == ConsumerGroupState.STABLE and len(found.members) == 3 and found.partition_assignor == "range",
                    f"described: {found.state} {found.members} {found.partition_assignor}")
        balsa.check(sorted(p.partition for m in found.members for p in m.assignment.topic_partitions) == list(range(12)), "described assignments")
        balsa.check(all(m.host == "/127.0.0.1" for m in found.members), f"hosts {[m.host for m in found.members]}")
        members.pop().end()
        wait_owned("the others take over from a killed one", members, 12)
        stopped = members.pop()
        stopped.signal(signal.SIGSTOP)
        wait_owned("the other takes over from a stopped one", members, 12)
        stopped.signal(signal.SIGCONT)
        members.append(stopped)
        wait_owned("the stopped one is back", members, 12)
        for member in members:
            member.end()
        ok = balsa.wait_until(lambda: describe(broker.address, "life").state == ConsumerGroupState.EMPTY, 30, 0.2)
        balsa.check(ok, "the group is empty when all are dead")
        admin = AdminClient({"bootstrap.servers": broker.address})
        listed = admin.list_consumer_groups(request_timeout=20).result().valid
        balsa.check([(g.group_id, g.state) for g in listed] == [("life", ConsumerGroupState.EMPTY)], f"listed: {listed}")


def history_topic(address, topic, partitions):
    from confluent_kafka.admin import NewTopic
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, partitions, replication_factor=1)], operation_timeout=30)[topic].result(30)


def test_static():
    """A static member restarts: the others notice nothing, and it has the same partitions."""
    with balsa.Broker(shards=2, settings=FAST) as broker:
        history_topic(broker.address, "t", 6)
        members = [Member(broker.address, "fixed", "t", **{"group.instance.id": f"i{n}", "session.timeout.ms": 30000}) for n in range(2)]
        wait_owned("two static members share", members, 6)
        before = generation(broker, "fixed")
        for n in (1, 0):  # a follower and the leader, whichever is which
            had = set(members[n].partitions)
            members[n].end()
            members[n] = Member(broker.address, "fixed", "t", **{"group.instance.id": f"i{n}", "session.timeout.ms": 30000})
            wait_owned(f"static member {n} restarted", members, 6)
            balsa.check(members[n].partitions == had, f"it has what it had: {had} {members[n].partitions}")
        balsa.check(generation(broker, "fixed") == before, f"no rebalance: generation {before} and {generation(broker, 'fixed')}")
        twin = Member(broker.address, "fixed", "t", **{"group.instance.id": "i0", "session.timeout.ms": 30000})
        fenced = balsa.wait_until(lambda: "_FATAL" in members[0].failures, 30)
        balsa.check(fenced, f"a second process of the same name fences the first: {members[0].failures}")
        for member in members + [twin]:
            member.end()


def test_cooperative():
    """Incremental rebalances: who stays keeps what it keeps, without a pause."""
    with balsa.Broker(shards=2, settings=FAST) as broker:
        history_topic(broker.address, "t", 12)
        strategy = {"partition.assignment.strategy": "cooperative-sticky"}
        members = [Member(broker.address, "coop", "t", **strategy)]
        wait_owned("one cooperative member", members, 12)
        members.append(Member(broker.address, "coop", "t", **strategy))
        wait_owned("two cooperative members", members, 12)
        revoked = set().union(*(numbers for _, what, numbers in members[0].events if what == "revoked"))
        balsa.check(len(revoked) == 6, f"only what moves is revoked: {revoked}")
        members.pop(0).end()
        wait_owned("the other takes over", members, 12)
        members[0].end()


def test_takeover():
    """From a member's death to all partitions being consumed again: the session timeout and one second."""
    with balsa.Broker(shards=2, settings=FAST) as broker:
        history_topic(broker.address, "t", PARTITIONS)
        members = [Member(broker.address, "many", "t") for _ in range(MEMBERS)]
        wait_owned(f"{MEMBERS} members share {PARTITIONS} partitions", members, PARTITIONS, 120)
        load = Load(broker.address, "t", PARTITIONS, 0.5)
        time.sleep(3)
        dead = members.pop()
        lost = set(dead.partitions)
        died_ms = time.monotonic_ns() // 1000000
        dead.end()

        def read_since():
            return {p for m in members for p, (ms, _) in list(m.last_read.items()) if p in m.partitions and ms > died_ms}
        balsa.wait_until(lambda: all_owned(members, PARTITIONS), 60, 0.005)
        owned_ms = time.monotonic_ns() // 1000000 - died_ms
        ok = balsa.wait_until(lambda: all_owned(members, PARTITIONS) and lost <= read_since(), 60, 0.005)
        took_ms = time.monotonic_ns() // 1000000 - died_ms
        print(f"  {MEMBERS} members, {PARTITIONS} partitions: {len(lost)} partitions given to others {owned_ms} ms after a member's death and "
              f"consumed again after {took_ms} ms, session timeout {SESSION_MS} ms", flush=True)
        balsa.check(ok and took_ms <= SESSION_MS + 1000 * SLACK, f"taken over after {took_ms} ms, {len(lost - read_since())} still missing")
        load.end()
        for member in members:
            member.end()


def test_failover():
    """kill -9 of the coordinator of three brokers: consumption goes on in the same generation."""
    with cluster.Cluster(3, shards=2, settings=FAST) as brokers:
        brokers.create("t", 12)
        members = [Member(brokers.addresses, "g", "t", **{"session.timeout.ms": 10000}) for _ in range(3)]
        wait_owned("three members on three brokers", members, 12)
        load = Load(brokers.addresses, "t", 12)
        for round_number in range(int(os.environ.get("ROUNDS", "2"))):
            before = generation(brokers, "g")
            parts = [set(m.partitions) for m in members]
            counts = [len(m.events) for m in members]
            dead = brokers.controller()
            killed_ms = time.monotonic_ns() // 1000000
            brokers.kill(dead)

            def goes_on():
                return all(any(ms > killed_ms + 1000 for ms, _ in [m.last_read.get(p, (0, 0))]) for m in members for p in m.partitions)
            balsa.check(balsa.wait_until(goes_on, 60), f"round {round_number}: all partitions are consumed after the coordinator's death")
            at = brokers.controller()
            balsa.check(at != dead, "another broker coordinates")
            time.sleep(12)  # longer than a session: whoever could not reach the new coordinator would be out by now
            state = describe(brokers.addresses, "g")
            balsa.check(state.state == ConsumerGroupState.STABLE and len(state.members) == 3, f"described by the new one: {state.state} {len(state.members)}")
            balsa.check(generation(brokers, "g") == before, f"round {round_number}: generation {before}, then {generation(brokers, 'g')}")
            balsa.check([m.partitions for m in members] == parts and [len(m.events) for m in members] == counts,
                        f"round {round_number}: nobody was given anything else: {[m.events[-2:] for m in members]}")
            brokers.start(dead)
            brokers.wait_ready()
            brokers.wait_led("t")
        members.pop().end()
        wait_owned("a member's death is seen by the new coordinator", members, 12)
        load.end()
        for member in members:
            member.end()


def test_kafka_python():
    """Another client in the same group as librdkafka's."""
    try:
        from kafka import KafkaConsumer
    except ImportError as error:
        balsa.skip("kafka-python", str(error))
        return
    with balsa.Broker(shards=1, settings=FAST) as broker:
        history_topic(broker.address, "t", 4)
        other = Member(broker.address, "mixed", "t", **{"partition.assignment.strategy": "range"})
        wait_owned("librdkafka alone", [other], 4)
        consumer = KafkaConsumer("t", bootstrap_servers=broker.address, group_id="mixed", session_timeout_ms=SESSION_MS, heartbeat_interval_ms=HEARTBEAT_MS)

        def is_shared():
            consumer.poll(100)
            return len(consumer.assignment()) == 2 and len(other.partitions) == 2
        balsa.check(balsa.wait_until(is_shared, 30), f"kafka-python and librdkafka share: {consumer.assignment()} {other.partitions}")
        consumer.close()
        wait_owned("kafka-python has left", [other], 4, 30)
        other.end()


TESTS = [test_life, test_static, test_cooperative, test_kafka_python, test_takeover, test_failover]

if __name__ == "__main__":
    wanted = os.environ.get("ONLY", "").split()
    for test in TESTS:
        if not wanted or test.__name__[5:] in wanted:
            test()
    balsa.finish()
