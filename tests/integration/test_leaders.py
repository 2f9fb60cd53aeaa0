"""What brokers say about leaders while these change: kafkajs without retries takes a partition that has none just now for a failure of what it
was about, so a broker that is asked in the middle of a change waits for its end. Every broker is asked for all topics, again and again, while
topics are made, leaders are moved by hand, and brokers are stopped and started; then while one is killed with -9, and when no quorum is left."""
import threading
import time

import admin
import balsa
import cluster

PARTITIONS = 6
TRANSFERS = 60
LEAST_LOOKS = 50
DUE_S = 1  # as README of broker/ says: the longest that a broker waits for news of leaders


class Onlooker(threading.Thread):
    """Asks one broker for all topics."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.looks = 0
        self.leaderless = []
        self.longest_s = 0
        self.is_over = False

    def run(self):
        while not self.is_over:
            start = time.monotonic()
            try:
                topics = self.node.metadata(10).topics
            except OSError:
                time.sleep(0.05)  # it is not there just now
                continue
            self.longest_s = max(self.longest_s, time.monotonic() - start)
            self.looks += 1
            self.leaderless += [f"{topic}-{p.number}" for topic, partitions in topics.items() for p in partitions if p.leader < 0]

    def end(self):
        self.is_over = True
        self.join()


class Looking:
    """All running brokers are asked; counts what they said."""

    def __init__(self, brokers):
        self.threads = [Onlooker(node) for node in brokers.answering()]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.end()

    def check(self, what):
        looks = [t.looks for t in self.threads]
        missing = [name for t in self.threads for name in t.leaderless]
        balsa.check(min(looks) >= LEAST_LOOKS, f"{what}: each broker was asked, {looks} times")
        balsa.check(not missing, f"{what}: partitions without a leader in {looks} looks: {missing[:5]}")


def changes(brokers, client):
    with Looking(brokers) as looking:
        for n in range(TRANSFERS):
            partition = n % PARTITIONS
            target = brokers.leader_of("handed", partition) % len(brokers.nodes) + 1
            admin.patiently(client.TransferLeader, topic="handed", partition=partition, to=target)
    looking.check("leaders are moved")
    with Looking(brokers) as looking:
        for n in range(5):
            admin.patiently(client.CreateTopic, name=f"new-{n}", partitions=PARTITIONS, replication_factor=3)
            time.sleep(0.1)
    looking.check("topics are made")
    with Looking(brokers) as looking:
        for number in (2, 3):
            brokers.stop(number)
            brokers.start(number)
            brokers.wait_ready()
            brokers.wait_led("handed")
    looking.check("brokers are stopped and started")


def losses(brokers):
    """What cannot be over in a moment is told: nobody waits for it each time."""
    victim = brokers.leader_of("handed", 0)
    others = [number for number in brokers.nodes if number != victim]
    with Looking(brokers) as looking:
        time.sleep(0.2)
        brokers.kill(victim)
        brokers.wait_led("handed")
        time.sleep(0.2)
    longest = max(t.longest_s for t in looking.threads)
    balsa.check(longest < DUE_S + 1, f"a broker is killed: an answer takes {longest:.2f} s at most")
    brokers.kill(others[1])
    last = brokers.nodes[others[0]]

    def has_ended():
        start = time.monotonic()
        found = last.metadata(10).topics["handed"]
        return time.monotonic() - start < DUE_S / 2 and any(p.leader < 0 for p in found)
    balsa.check(balsa.wait_until(has_ended, 30), "without a quorum its leaders are gone, and the answer says so at once")


def main():
    cluster.need("test_leaders")
    if admin.grpc is None:
        balsa.skip("test_leaders", admin.MISSING)
        return
    own = {number: admin.settings() for number in (1, 2, 3)}
    with cluster.Cluster(3, shards=2, own=own) as brokers:
        with admin.Admin(own[1]["balsa.admin.listeners"]) as client:
            brokers.create("handed", PARTITIONS)
            changes(brokers, client)
        losses(brokers)


main()
balsa.finish()
