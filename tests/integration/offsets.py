"""Offsets of consumer groups by hand: OffsetCommit 7, OffsetFetch 1 to 9, OffsetDelete 0, DeleteGroups 1, and who coordinates."""
import struct
import time

import wire

OFFSET_COMMIT, OFFSET_FETCH, DELETE_GROUPS, OFFSET_DELETE = 8, 9, 42, 47
NONE, UNKNOWN_TOPIC, METADATA_TOO_LARGE, LOADING, NOT_AVAILABLE, NOT_COORDINATOR = 0, 3, 12, 14, 15, 16
ILLEGAL_GENERATION, UNKNOWN_MEMBER, INVALID_COMMIT_SIZE, NON_EMPTY_GROUP, GROUP_NOT_FOUND, SUBSCRIBED = 22, 25, 28, 68, 69, 86
MOVING = (LOADING, NOT_AVAILABLE, NOT_COORDINATOR)
NOTHING = (-1, -1, "", NONE)


def nullable(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def commit_body(group, topics, generation=-1, member="", instance=None):
    """Version 7. topics: {name: {partition: offset or (offset, epoch, metadata)}}"""
    body = wire.text(group) + struct.pack(">i", generation) + wire.text(member) + nullable(instance) + struct.pack(">i", len(topics))
    for name, partitions in topics.items():
        body += wire.text(name) + struct.pack(">i", len(partitions))
        for partition, what in partitions.items():
            offset, epoch, metadata = what if isinstance(what, tuple) else (what, -1, "")
            body += struct.pack(">iqi", partition, offset, epoch) + nullable(metadata)
    return body


class Client(wire.Client):
    def commit(self, group, topics, **more):
        """{(topic, partition): error}"""
        read = Classic(self.call(wire.frame(OFFSET_COMMIT, 7, commit_body(group, topics, **more))))
        read.number("i")
        return read.errors()

    def commit_expiring(self, group, topic, partition, offset, retention_ms):
        """Version 3, with a retention of its own. The error."""
        body = wire.text(group) + struct.pack(">i", -1) + wire.text("") + struct.pack(">qi", retention_ms, 1) + wire.text(topic)
        read = Classic(self.call(wire.frame(OFFSET_COMMIT, 3, body + struct.pack(">iiq", 1, partition, offset) + wire.text(""))))
        read.number("i")
        return read.errors()[topic, partition]

    def fetch_offsets(self, group, topics=None, version=7):
        """(error, {(topic, partition): (offset, epoch, metadata, error)}), versions 1 to 7. topics: {name: [partition]}, None: all."""
        if version >= 6:
            return self.fetch_flexible(group, topics, version)
        body = wire.text(group) + struct.pack(">i", -1 if topics is None else len(topics))
        for name, partitions in (topics or {}).items():
            body += wire.text(name) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
        read = Classic(self.call(wire.frame(OFFSET_FETCH, version, body)))
        if version >= 3:
            read.number("i")
        found = {}
        for _ in range(read.number("i")):
            name = read.text()
            for _ in range(read.number("i")):
                partition, offset = read.number("i"), read.number("q")
                epoch = read.number("i") if version >= 5 else -1
                found[name, partition] = offset, epoch, read.text(), read.number("h")
        return (read.number("h") if version >= 2 else NONE), found

    def fetch_flexible(self, group, topics, version):
        body = wire.compact_text(group) + compact_topics(topics) + (b"\x00" if version >= 7 else b"") + b"\x00"
        read = wire.Flexible(self.call_flexible(OFFSET_FETCH, version, body))
        read.number("i")
        found = compact_answer(read)
        return read.number("h"), found

    def fetch_groups(self, groups, version=8):
        """{group: (error, {...})}; groups: {name: topics as above}"""
        body = wire.compact(len(groups))
        for name, topics in groups.items():
            body += wire.compact_text(name) + (b"\x00" + struct.pack(">i", -1) if version >= 9 else b"") + compact_topics(topics) + b"\x00"
        read = wire.Flexible(self.call_flexible(OFFSET_FETCH, version, body + b"\x00\x00"))
        read.number("i")
        answer = {}
        for _ in range(read.count()):
            name = read.text()
            found = compact_answer(read)
            answer[name] = read.number("h"), found
            read.tags()
        return answer

    def delete_offsets(self, group, topics):
        """(error, {(topic, partition): error}); topics: {name: [partition]}"""
        body = wire.text(group) + struct.pack(">i", len(topics))
        for name, partitions in topics.items():
            body += wire.text(name) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
        read = Classic(self.call(wire.frame(OFFSET_DELETE, 0, body)))
        error = read.number("h")
        read.number("i")
        return error, read.errors()

    def delete_groups(self, groups):
        """{group: error}"""
        body = struct.pack(">i", len(groups)) + b"".join(wire.text(group) for group in groups)
        read = Classic(self.call(wire.frame(DELETE_GROUPS, 1, body)))
        read.number("i")
        return {read.text(): read.number("h") for _ in range(read.number("i"))}


class Classic:
    """Reads the classic encoding."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, kind):
        value, = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def text(self):
        size = self.number("h")
        self.at += max(size, 0)
        return None if size < 0 else self.data[self.at - size:self.at].decode()

    def errors(self):
        """[topic [partition error]]"""
        found = {}
        for _ in range(self.number("i")):
            name = self.text()
            for _ in range(self.number("i")):
                partition = self.number("i")
                found[name, partition] = self.number("h")
        return found


def compact_topics(topics):
    if topics is None:
        return b"\x00"
    body = wire.compact(len(topics))
    for name, partitions in topics.items():
        body += wire.compact_text(name) + wire.compact(len(partitions)) + struct.pack(f">{len(partitions)}i", *partitions) + b"\x00"
    return body


def compact_answer(read):
    found = {}
    for _ in range(read.count()):
        name = read.text()
        for _ in range(read.count()):
            partition, offset, epoch = read.number("i"), read.number("q"), read.number("i")
            found[name, partition] = offset, epoch, read.text(), read.number("h")
            read.tags()
        read.tags()
    return found


def coordinator(nodes, group="who", timeout_s=60):
    """The one that takes a read: whoever is not the coordinator says so."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for node in nodes:
            try:
                with Client(node.port, 5, node.host) as client:
                    if client.fetch_offsets(group, {})[0] == NONE:
                        return node
            except OSError:
                continue
        time.sleep(0.02)
    raise RuntimeError(f"nobody coordinates after {timeout_s} s")
