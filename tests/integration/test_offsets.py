"""Offsets of consumer groups: what is committed, by hand and by real clients, is what is fetched, whoever coordinates; what goes and what
stays when groups, topics and partitions go; and that under kill -9 no acknowledged commit is lost or goes back. ROUNDS=10 for more kills.
"""
import os
import threading
import time

import balsa
import cluster
import offsets
import wire
from offsets import NONE, NOTHING

ROUNDS = int(os.environ.get("ROUNDS", "3"))
check = balsa.check


def connect(node):
    return offsets.Client(node.port, 60, node.host)


def test_commit_and_fetch(node):
    """Each version of OffsetFetch sees what was committed; unknown is -1 without an error."""
    with connect(node) as client:
        asked = {"a": [0, 1, 2], "missing": [0]}
        for version in range(1, 8):
            answer = client.fetch_offsets("nobody", asked, version)
            check(answer == (NONE, {("a", 0): NOTHING, ("a", 1): NOTHING, ("a", 2): NOTHING, ("missing", 0): NOTHING}), f"unknown group, version {version}: {answer}")
        errors = client.commit("g", {"a": {0: (10, 3, "x"), 1: (0, -1, None), 7: 5}, "missing": {0: 1}})
        check(errors == {("a", 0): NONE, ("a", 1): NONE, ("a", 7): 3, ("missing", 0): 3}, f"commit of four, two unknown: {errors}")
        for version in range(1, 8):
            epoch = 3 if version >= 5 else -1
            answer = client.fetch_offsets("g", asked, version)
            expected = {("a", 0): (10, epoch, "x", NONE), ("a", 1): (0, -1, "", NONE), ("a", 2): NOTHING, ("missing", 0): NOTHING}
            check(answer == (NONE, expected), f"version {version}: {answer}")
            if version >= 2:
                answer = client.fetch_offsets("g", None, version)
                check(answer == (NONE, {k: v for k, v in expected.items() if v != NOTHING}), f"all, version {version}: {answer}")
        client.commit("g2", {"b": {0: 5}, "a": {1: 6}})
        for version in 8, 9:
            answer = client.fetch_groups({"g": None, "nobody": None, "g2": None, "g3": {"a": [0]}}, version)
            check(answer["g"] == (NONE, {("a", 0): (10, 3, "x", NONE), ("a", 1): (0, -1, "", NONE)}), f"version {version}: {answer}")
            check(answer["nobody"] == (NONE, {}) and answer["g3"] == (NONE, {("a", 0): NOTHING}), f"version {version}: {answer}")
            check(answer["g2"] == (NONE, {("b", 0): (5, -1, "", NONE), ("a", 1): (6, -1, "", NONE)}), f"version {version}: {answer}")
        client.commit("g", {"a": {0: 4}})
        check(client.fetch_offsets("g", {"a": [0]})[1]["a", 0] == (4, -1, "", NONE), "an offset may be set back")


def test_bounds(node):
    with connect(node) as client:
        for metadata in "", "m" * 4096, "é" * 2048:
            errors = client.commit("meta", {"a": {0: (1, -1, metadata)}})
            back = client.fetch_offsets("meta", {"a": [0]})[1]["a", 0][2]
            check(errors["a", 0] == NONE and back == metadata, f"{len(metadata)} characters come back")
        errors = client.commit("meta", {"a": {0: (2, -1, "m" * 4097), 1: 3}})
        check(errors == {("a", 0): 12, ("a", 1): NONE}, f"4097 bytes are refused, the rest is not: {errors}")
        check(client.fetch_offsets("meta", {"a": [0]})[1]["a", 0][0] == 1, "what was refused changes nothing")
        long = "g" * 500
        check(client.commit(long, {"a": {0: 9}})["a", 0] == NONE and client.fetch_offsets(long)[1]["a", 0][0] == 9, "a group id of 500 bytes")
        check(client.commit(long + "g", {"a": {0: 9}})["a", 0] == 24, "one of 501 is refused")
        check(client.fetch_offsets(long + "g") == (24, {}), "also when read")
        check(client.commit("", {"a": {0: 9}})["a", 0] == NONE and client.fetch_offsets("")[1]["a", 0][0] == 9, "the empty group id may commit")
        check(client.commit("none", {}) == {} and client.fetch_offsets("none") == (NONE, {}), "nothing to commit is fine")
        check(client.commit("m", {"a": {0: 9}}, generation=1, member="who")["a", 0] in (22, 25), "a member of no group is refused")
        metadata = "m" * 4096
        errors = client.commit("big", {"wide": {p: (p, -1, metadata) for p in range(1000)}})
        check(set(errors.values()) == {NONE}, f"4 MB at once: {set(errors.values())}")
        errors = client.commit("big", {"wide": {p: (p, -1, metadata) for p in range(1000)}, "a": {p: (1, -1, metadata) for p in range(3)},
                                       "b": {p: (1, -1, metadata) for p in range(40)}})
        check(NONE not in errors.values(), f"more is refused: {set(errors.values())}")
        error, found = client.fetch_offsets("big")
        check(error == NONE and len(found) == 1000 and all(found["wide", p] == (p, -1, metadata, NONE) for p in range(1000)), "and all comes back")


def test_removal(broker):
    """Offsets go with their group, topic, or one by one; what is made again under the same name starts with nothing."""
    with connect(broker) as client:
        client.commit("gone", {"a": {0: 1, 1: 2}, "b": {0: 3}})
        client.commit("stays", {"a": {0: 1}})
        errors = client.delete_groups(["gone", "missing", "gone"])
        check(errors == {"gone": NONE, "missing": 69}, f"DeleteGroups: {errors}")
        check(client.delete_groups(["gone"]) == {"gone": 69}, "a deleted group is not there")
        check(client.fetch_offsets("gone") == (NONE, {}) and client.fetch_offsets("stays")[1] == {("a", 0): (1, -1, "", NONE)}, "its offsets are gone, others are not")
        client.commit("gone", {"b": {1: 7}})
        check(client.fetch_offsets("gone")[1] == {("b", 1): (7, -1, "", NONE)}, "a group made again starts with nothing")

        check(client.delete_offsets("missing", {"a": [0]}) == (69, {}), "OffsetDelete of a group that is not there")
        client.commit("some", {"a": {0: 1, 1: 2, 2: 3}})
        answer = client.delete_offsets("some", {"a": [1, 1, 9], "missing": [0]})
        check(answer == (NONE, {("a", 1): NONE, ("a", 9): 3, ("missing", 0): 3}), f"OffsetDelete: {answer}")
        check(sorted(client.fetch_offsets("some")[1]) == [("a", 0), ("a", 2)], "only what was asked for is deleted")
        client.commit("some", {"wide": {p: p for p in range(1000)}})
        client.commit("some", {"wide2": {p: p for p in range(1500)}})
        answer = client.delete_offsets("some", {"wide": list(range(1000)), "wide2": list(range(1500))})
        check(answer[0] == NONE and set(answer[1].values()) == {NONE} and len(client.fetch_offsets("some")[1]) == 2, "2500 offsets are deleted")


def delete_topic(broker, topic):
    from confluent_kafka.admin import AdminClient
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.delete_topics([topic], operation_timeout=60)[topic].result(60)


def make_topic(broker, topic, partitions):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=60)[topic].result(60)




def test_topic_deletion(broker):
    make_topic(broker, "short-lived", 3)
    with connect(broker) as client:
        client.commit("of-topic", {"short-lived": {0: 1, 2: 5}, "a": {0: 3}})
        delete_topic(broker, "short-lived")
        error, found = client.fetch_offsets("of-topic")
        check((error, found) == (NONE, {("a", 0): (3, -1, "", NONE)}), f"a topic's offsets go with it: {found}")
        check(client.fetch_offsets("of-topic", {"short-lived": [0, 2]})[1] == {("short-lived", 0): NOTHING, ("short-lived", 2): NOTHING}, "asked by name too")
        make_topic(broker, "short-lived", 3)
        check(client.fetch_offsets("of-topic", {"short-lived": [0]})[1]["short-lived", 0] == NOTHING, "a topic made again starts with nothing")


def test_expiry():
    """By the retention that a client has asked for, which counts in milliseconds."""
    with balsa.Broker(settings={"offsets.retention.check.interval.ms": 100}) as broker:
        make_topic(broker, "a", 3)
        with connect(broker) as client:
            check(client.commit_expiring("e", "a", 0, 5, 1) == NONE and client.commit("e", {"a": {1: 6}}) == {("a", 1): NONE}, "two commits, one with a retention of 1 ms")
            check(client.commit_expiring("f", "a", 0, 5, 1) == NONE, "a group with nothing else")
            left = balsa.wait_until(lambda: list(client.fetch_offsets("e")[1]) == [("a", 1)], 30)
            check(left, f"what has expired is removed, the rest is not: {client.fetch_offsets('e')}")
            check(balsa.wait_until(lambda: client.delete_groups(["f"]) == {"f": 69}, 30) or client.fetch_offsets("f")[1] == {}, "a group without offsets goes as well")


def test_restart(broker):
    """Killed and started again: everything is there."""
    with connect(broker) as client:
        before = client.fetch_groups({"g": None, "big": None, "stays": None, "": None})
    broker.kill()
    broker.start()
    with connect(offsets.coordinator([broker])) as client:
        after = client.fetch_groups({"g": None, "big": None, "stays": None, "": None})
    check(before == after, "after kill -9 all offsets are as they were")


# ---- Under load ----

class Committer(threading.Thread):
    """Commits ever higher offsets of a group of its own to whoever coordinates. What it reads is what was acknowledged last, or later
    commits whose answers were lost."""

    def __init__(self, nodes, number, stop):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.group = f"load-{number}"
        self.stopping = stop
        self.acked = {p: -1 for p in range(3)}
        self.sent = dict(self.acked)
        self.wrong = []
        self.commits = self.reads = 0
        self.start()

    def once(self, client):
        partition = (self.commits + self.reads) % 3
        if (self.commits + self.reads) % 10 == 9:
            error, found = client.fetch_offsets(self.group, {"a": [0, 1, 2]})
            if error == NONE:
                self.reads += 1
                for p in range(3):
                    offset = found["a", p][0]
                    if not self.acked[p] <= offset <= self.sent[p]:
                        self.wrong.append(f"{self.group}-{p}: read {offset}, acknowledged {self.acked[p]}, sent {self.sent[p]}")
                    self.acked[p] = max(self.acked[p], offset)
            return error
        self.sent[partition] += 1
        error = client.commit(self.group, {"a": {partition: self.sent[partition]}})["a", partition]
        if error == NONE:
            self.commits += 1
            self.acked[partition] = self.sent[partition]
        elif error not in offsets.MOVING:
            self.wrong.append(f"{self.group}: error {error}")
        return error

    def run(self):
        at = 0
        while not self.stopping.is_set():
            node = self.nodes[at % len(self.nodes)]
            try:
                with offsets.Client(node.port, 5, node.host) as client:
                    while not self.stopping.is_set() and self.once(client) == NONE:
                        pass
            except OSError:
                pass
            at += 1
            time.sleep(0.01)


def under_load(name, nodes, harm, rounds, committers=8):
    stop = threading.Event()
    load = [Committer(nodes, number, stop) for number in range(committers)]
    for number in range(rounds):
        before = sum(one.commits for one in load)
        harm(number)
        check(balsa.wait_until(lambda: sum(one.commits for one in load) > before + 50 * committers, 120), f"{name}, round {number}: commits go on")
    stop.set()
    for one in load:
        one.join(120)
    with connect(offsets.coordinator(nodes)) as client:
        for one in load:
            one.once(client) if one.commits + one.reads == 0 else None
            found = client.fetch_offsets(one.group, {"a": [0, 1, 2]})[1]
            for p in range(3):
                if not one.acked[p] <= found["a", p][0] <= one.sent[p]:
                    one.wrong.append(f"{one.group}-{p}: at the end {found['a', p][0]}, acknowledged {one.acked[p]}, sent {one.sent[p]}")
    wrong = [text for one in load for text in one.wrong]
    check(not wrong, f"{name}: {len(wrong)} wrong: {wrong[:5]}")
    print(f"  {name}: {sum(one.commits for one in load)} commits, {sum(one.reads for one in load)} reads", flush=True)


def test_kill_one(broker):
    def harm(_):
        time.sleep(0.3)
        broker.kill()
        broker.start()
    under_load("kill -9 of one broker", [broker], harm, ROUNDS)


def test_cluster():
    with cluster.Cluster(3) as brokers:
        brokers.create("a", 3)
        nodes = list(brokers.nodes.values())
        for node in nodes:
            with connect(node) as client:
                error = client.fetch_offsets("g", {"a": [0]})[0]
                check(error in (NONE, offsets.NOT_COORDINATOR), f"broker {node.number}: error {error}")
                if error != NONE:
                    check(client.commit("g", {"a": {0: 1}})["a", 0] == 16 and client.delete_groups(["g"])["g"] == 16 and
                          client.delete_offsets("g", {"a": [0]})[0] == 16, f"broker {node.number} is not the coordinator and says so")

        def kill_coordinator(_):
            at = offsets.coordinator(brokers.answering()).number
            time.sleep(0.3)
            brokers.kill(at)
            offsets.coordinator(brokers.answering())
            brokers.start(at)

        def kill_all(_):
            time.sleep(0.3)
            brokers.kill()
            brokers.start()
            brokers.wait_ready()

        def pause_coordinator(_):
            at = offsets.coordinator(brokers.answering()).number
            brokers.pause(at)
            offsets.coordinator(brokers.answering())
            time.sleep(0.2)
            brokers.resume(at)
        under_load("kill -9 of coordinators", nodes, kill_coordinator, ROUNDS)
        under_load("kill -9 of all brokers", nodes, kill_all, ROUNDS)
        under_load("pauses of coordinators", nodes, pause_coordinator, ROUNDS)


def main():
    cluster.need("offsets")
    with balsa.Broker() as broker:
        for topic, partitions in (("a", 3), ("b", 100), ("wide", 1000), ("wide2", 1500)):
            make_topic(broker, topic, partitions)
        test_commit_and_fetch(broker)
        test_bounds(broker)
        test_removal(broker)
        test_topic_deletion(broker)
        test_restart(broker)
        test_kill_one(broker)
    test_expiry()
    test_cluster()
    balsa.finish()


main()
