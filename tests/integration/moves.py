"""Reassignments and elections, by hand: what clients of the admin APIs send, without any of their libraries."""
import datetime
import re
import struct
import time

import balsa
import wire

ELECT_LEADERS, ALTER, LIST, UNREGISTER = 43, 45, 46, 64
PREFERRED, UNCLEAN = 0, 1
TIMED_OUT = 7
NONE, UNKNOWN_TOPIC, INVALID_ASSIGNMENT, ELIGIBLE_NOT_AVAILABLE, NOT_NEEDED, NO_REASSIGNMENT = 0, 3, 39, 83, 84, 85


def uvarint(number):
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7f | 0x80,))
        number >>= 7
    return out + bytes((number,))


def compact(name):
    return uvarint(len(name) + 1) + name.encode()


def numbers(values):
    """Compact array of int32; None: null."""
    return uvarint(0) if values is None else uvarint(len(values) + 1) + struct.pack(f">{len(values)}i", *values)


class Reader:
    """Flexible fields."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, kind):
        value, = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self):
        size = self.uvarint() - 1
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def items(self, read):
        return [read() for _ in range(max(self.uvarint() - 1, 0))]

    def tags(self):
        assert self.uvarint() == 0, "no tagged field is expected"


def ask(node, api, version, body, timeout_s=60):
    with wire.Client(node.port, timeout_s, node.host) as client:
        reader = Reader(client.call(wire.frame(api, version, b"\x00" + body)))
    reader.tags()
    return reader


def alter(node, wishes, timeout_s=60):
    """{(topic, partition): brokers or None (cancel)} -> {(topic, partition): (error, text)}. What was refused for the time being (the log
    is over its budget while the disk does not keep up) is asked for again, as clients do."""
    found = {}
    end = time.monotonic() + timeout_s
    while wishes:
        found.update(alter_once(node, wishes))
        wishes = {at: brokers for at, brokers in wishes.items() if found[at][0] == TIMED_OUT and time.monotonic() < end}
        time.sleep(0.1 if wishes else 0)
    return found


def alter_once(node, wishes, timeout_ms=30000):
    topics = sorted({topic for topic, _ in wishes})
    body = struct.pack(">i", timeout_ms) + uvarint(len(topics) + 1)
    for topic in topics:
        mine = sorted((number, brokers) for (name, number), brokers in wishes.items() if name == topic)
        body += compact(topic) + uvarint(len(mine) + 1)
        for number, brokers in mine:
            body += struct.pack(">i", number) + numbers(brokers) + b"\x00"
        body += b"\x00"
    reader = ask(node, ALTER, 0, body + b"\x00")
    reader.number("i")
    error, text = reader.number("h"), reader.text()
    if error:
        return {wish: (error, text) for wish in wishes}
    found = {}

    def one_topic():
        topic = reader.text()

        def one():
            number, code, why = reader.number("i"), reader.number("h"), reader.text()
            reader.tags()
            found[topic, number] = (code, why)
        reader.items(one)
        reader.tags()
    reader.items(one_topic)
    return found


def listed(node, topics=None):
    """{(topic, partition): (replicas, adding, removing)} of all that move, or of {topic: [partition]}."""
    body = struct.pack(">i", 30000)
    if topics is None:
        body += b"\x00"
    else:
        body += uvarint(len(topics) + 1)
        for topic, partitions in topics.items():
            body += compact(topic) + numbers(partitions) + b"\x00"
    reader = ask(node, LIST, 0, body + b"\x00")
    reader.number("i")
    error = reader.number("h")
    balsa.check(error == 0, f"list of reassignments: error {error}")
    reader.text()
    found = {}

    def one_topic():
        topic = reader.text()

        def one():
            number = reader.number("i")
            lists = tuple(reader.items(lambda: reader.number("i")) for _ in range(3))
            reader.tags()
            found[topic, number] = lists
        reader.items(one)
        reader.tags()
    reader.items(one_topic)
    return found


def elect(node, wishes, kind=PREFERRED, timeout_ms=20000):
    """{topic: [partition]}, None: all -> {(topic, partition): error}."""
    body = struct.pack(">b", kind)
    if wishes is None:
        body += b"\x00"
    else:
        body += uvarint(len(wishes) + 1)
        for topic, partitions in wishes.items():
            body += compact(topic) + numbers(partitions) + b"\x00"
    reader = ask(node, ELECT_LEADERS, 2, body + struct.pack(">i", timeout_ms) + b"\x00")
    reader.number("i")
    error = reader.number("h")
    balsa.check(error == 0, f"election: error {error}")
    found = {}

    def one_topic():
        topic = reader.text()

        def one():
            number, code = reader.number("i"), reader.number("h")
            reader.text()
            reader.tags()
            found[topic, number] = code
        reader.items(one)
        reader.tags()
    reader.items(one_topic)
    return found


def unregister(node, number):
    """Error of UnregisterBroker, which drains."""
    reader = ask(node, UNREGISTER, 0, struct.pack(">i", number) + b"\x00")
    reader.number("i")
    return reader.number("h")


def wait_settled(node, timeout_s=60):
    """Until nothing moves any more by the word of this broker. Whether it came to that."""
    return balsa.wait_until(lambda: not listed(node), timeout_s, 0.05) is not None


MEMBER = re.compile(r'^(\S+) level=info component=replica event="member (added|promoted)" group=(\d+)', re.MULTILINE)
ROLE = re.compile(r"^(\S+) level=debug component=replica event=(leader|follower|candidate|\"replica removed\") group=(\d+)", re.M)


def catching_up(brokers, since, until):
    """The most new members that one broker gave its replicas to at once, by the brokers' logs, between two moments of time.time()."""
    events = []
    for number, node in brokers.nodes.items():
        with open(node.log_path, encoding="utf-8", errors="replace") as log:
            for when, event, group in MEMBER.findall(log.read()):
                events.append((datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp(), number, event, int(group)))
    given_by, most = {}, 0
    for when, number, event, group in sorted(events):
        given_by.pop(group, None)
        if event == "added" and since <= when <= until:
            given_by[group] = number
            most = max(most, list(given_by.values()).count(number))
    return most


def leaderless(brokers, since, until):
    """(seconds, group) of each time in which no broker took itself for a group's leader, by the brokers' logs of level debug, between two
    moments of time.time(): from when the last one gave up, or lost its replica, to when the next one won."""
    events = []
    for number, node in brokers.nodes.items():
        with open(node.log_path, encoding="utf-8", errors="replace") as log:
            for when, event, group in ROLE.findall(log.read()):
                events.append((datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp(), number, event, int(group)))
    leading, lost, found = {}, {}, []
    for when, number, event, group in sorted(events):
        of_group = leading.setdefault(group, set())
        if event == "leader":
            if not of_group and group in lost and since <= when and lost[group] <= until:
                found.append((when - lost[group], group))
            of_group.add(number)
        elif number in of_group:
            of_group.remove(number)
            if not of_group:
                lost[group] = when
    return sorted(found, reverse=True)
