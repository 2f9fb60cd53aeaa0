"""Members of consumer groups, each client library in turn: three join one after another while records come in, one is killed, one leaves, another
joins; every record is read by somebody, no two own a partition at rest, and what is committed in the end is the end. Members commit in sync in one
run and behind their back in the other. On three brokers the coordinator is killed meanwhile. A Java program with a Kotlin service's settings besides.

CLIENTS="kafkajs sarama" for some; BROKERS="1 3"; COMMITS=both: each client in both ways.
"""
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

import balsa
import cluster

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients"))
import matrix  # noqa: E402
import prepare  # noqa: E402

CLIENTS = os.environ.get("CLIENTS", " ".join(prepare.MAKERS)).split()
BROKERS = [int(word) for word in os.environ.get("BROKERS", "1").split()]
PARTITIONS = 6
RATE_S = 0.02
WAIT_S = 120
AT_ONCE = 3


class Member:
    """A client program that is in a group: what it says it has read."""

    def __init__(self, command, addresses, topic, group, commit):
        self.process = subprocess.Popen([*command, "member", addresses, topic, group, commit], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.seen = set()
        self.recent = set()  # partitions since they were last looked at
        self.notes = []
        self.threads = [threading.Thread(target=self.read, daemon=True), threading.Thread(target=self.read_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def read(self):
        for line in self.process.stdout:
            words = line.split()
            if len(words) == 3 and words[0] == "have":
                self.seen.add((int(words[1]), int(words[2])))
                self.recent.add(int(words[1]))
            else:
                self.notes.append(line.strip())

    def read_errors(self):
        for line in self.process.stderr:
            self.notes = [*self.notes[-20:], line.strip()[:200]]

    def end(self, number, timeout_s=60):
        self.process.send_signal(number)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self.threads:
            thread.join(20)


class Source(threading.Thread):
    """A record every now and then to each partition, for as long as it is wanted."""

    def __init__(self, addresses, topic):
        super().__init__(daemon=True)
        from confluent_kafka import Producer
        self.producer = Producer({"bootstrap.servers": addresses, "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 120000, "log_level": 0})
        self.topic = topic
        self.ends = [0] * PARTITIONS
        self.failed = []
        self.is_over = False

    def note(self, error, message):
        if error:
            self.failed.append(str(error))
        else:
            self.ends[message.partition()] = max(self.ends[message.partition()], message.offset() + 1)

    def run(self):
        number = 0
        while not self.is_over:
            self.producer.produce(self.topic, f"value-{number}", partition=number % PARTITIONS, on_delivery=self.note)
            self.producer.poll(0)
            number += 1
            time.sleep(RATE_S)
        self.producer.flush(120)

    def finish(self):
        self.is_over = True
        self.join()


def shared(members):
    """Waits until each member reads, and all partitions are read, each by one of them; what they have read meanwhile is forgotten first."""
    def is_shared():
        for member in members:
            member.recent = set()
        time.sleep(1.5)
        owned = [set(member.recent) for member in members]
        return all(owned) and sum(len(own) for own in owned) == PARTITIONS and len(set.union(*owned)) == PARTITIONS
    return balsa.wait_until(is_shared, WAIT_S, 0)


def dropped_by(client, leaver):
    """What a program loses by itself when it is told to end. kcat (1.7, consume_cb) does not print what its last poll returned if the signal came
    meanwhile, yet that record's offset is stored, and committed as it closes: it is the next of a partition that the leaver read, one at most."""
    if client != "kcat":
        return set()
    return {(p, max(offset for partition, offset in leaver.seen if partition == p) + 1) for p in leaver.recent}


def committed(addresses, group, topic):
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import AdminClient
    admin = AdminClient({"bootstrap.servers": addresses, "log_level": 0})
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(PARTITIONS)])
    try:
        found = admin.list_consumer_group_offsets([asked], request_timeout=10)[group].result(20)
    except Exception:  # pylint: disable=broad-except  # the coordinator moves: asked again
        return None
    return [place.offset for place in sorted(found.topic_partitions, key=lambda place: place.partition)]


def life(brokers, client, command, commit, lose):
    """The life of one group. `lose` kills something on the way, and brings it back."""
    what = f"{client}, {commit} commits, {len(brokers.nodes)} brokers"
    topic = group = f"members-{client}-{commit}"
    brokers.create(topic, PARTITIONS)
    source = Source(brokers.addresses, topic)
    source.start()
    all_members = []

    def join():
        all_members.append(Member(command, brokers.addresses, topic, group, commit))
        return all_members[-1]

    def notes():
        return [member.notes[-6:] for member in all_members]
    try:
        first = join()
        balsa.check(shared([first]), f"{what}: one member reads all: {notes()}")
        second, third = join(), join()
        balsa.check(shared([first, second, third]), f"{what}: three members share: {notes()}")
        second.end(signal.SIGKILL)
        balsa.check(shared([first, third]), f"{what}: two share what the killed one had: {notes()}")
        lose()
        fourth = join()
        balsa.check(shared([first, third, fourth]), f"{what}: a new one gets its share: {notes()}")
        first.end(signal.SIGTERM)
        balsa.check("left" in first.notes, f"{what}: a member leaves in good order: {notes()}")
        balsa.check(shared([third, fourth]), f"{what}: the others take over at once: {notes()}")
        source.finish()
        wanted = {(p, offset) for p in range(PARTITIONS) for offset in range(source.ends[p])}
        balsa.check(not source.failed, f"{what}: all was acknowledged: {source.failed[:3]}")
        dropped = dropped_by(client, first)

        def unread():
            return wanted - set.union(*(m.seen for m in all_members))
        balsa.wait_until(lambda: unread() <= dropped, WAIT_S, 0.2)
        missing = unread()
        balsa.check(missing <= dropped and len(missing) <= 1, f"{what}: {len(missing)} records were read by nobody: {sorted(missing)[:5]}")
        for member in (third, fourth):
            member.end(signal.SIGTERM)
        done = balsa.wait_until(lambda: committed(brokers.addresses, group, topic) == source.ends, 30, 0.5)
        # Commits that nobody waits for may be lost with the member; the ends of sync ones are exact.
        balsa.check(done or commit == "async", f"{what}: committed {committed(brokers.addresses, group, topic)}, ends {source.ends}")
        print(f"  {what}: {len(wanted)} records, {sum(len(m.seen) for m in all_members)} reads", flush=True)
    finally:
        source.is_over = True
        for member in all_members:
            if member.process.poll() is None:
                member.process.kill()


def lives(brokers, ready):
    """Several at a time, as they mostly wait; on three brokers one after the other, as each loses the coordinator."""
    kinds = matrix.COMMITS
    runs = [(client, command, kinds[n % 2]) for n, (client, command) in enumerate(ready.items())]
    if os.environ.get("COMMITS") == "both":
        runs += [(client, command, kinds[(n + 1) % 2]) for n, (client, command) in enumerate(ready.items())]
    if len(brokers.nodes) > 1:
        for run in runs:
            life(brokers, *run, lambda: lose_coordinator(brokers))
        return
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(life, brokers, *run, lambda: None) for run in runs]:
            done.result()


def transactions(brokers, client, command):
    out = subprocess.run([*command, "transactions", brokers.addresses], capture_output=True, text=True, timeout=200, check=False)
    lines = [line for line in out.stdout.splitlines() if line.startswith(("ok ", "FAIL "))]
    balsa.check(len(lines) == 2 and all(line.startswith("ok ") for line in lines), f"{client}: a Kotlin service's settings: {lines} {out.stderr[-500:]}")


def lose_coordinator(brokers):
    """kill -9 of whoever coordinates, which is the controller; it is back before anything else happens."""
    number = brokers.controller()
    brokers.kill(number)
    time.sleep(3)
    brokers.start(number)
    brokers.wait_ready()


def main():
    ready, missing = prepare.commands(CLIENTS)
    for name, why in missing.items():
        balsa.skip(name, why)
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        balsa.skip("members", str(error))
        balsa.finish()
    for count in BROKERS:
        os.environ["BROKERS"] = str(count)  # of clients' programs: how many there are
        with cluster.Cluster(count, shards=2, settings={"group.initial.rebalance.delay.ms": 0, "num.partitions": PARTITIONS}) as brokers:
            lives(brokers, ready)
            for client, command in ready.items():
                if client.startswith("java"):
                    transactions(brokers, client, command)
    balsa.finish()


main()
