"""Just enough of Kafka's protocol, by hand, for tests that must see what no client library shows: error codes, raw batches, closing."""
import socket
import struct

NONE = 0
NOT_LEADER_OR_FOLLOWER = 6
NOT_ENOUGH_REPLICAS = 19
OFFSET_OUT_OF_RANGE = 1
KAFKA_STORAGE_ERROR = 56
PRODUCE, FETCH, LIST_OFFSETS, API_VERSIONS = 0, 1, 2, 18
ALTER_PARTITION_REASSIGNMENTS, LIST_PARTITION_REASSIGNMENTS = 45, 46
BATCH_HEADER = struct.Struct(">qiibIhiqqqhii")


def varint(number):
    """Zigzag, of a number that is not negative."""
    number <<= 1
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7f | 0x80,))
        number >>= 7
    return out + bytes((number,))


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def text(name):
    return struct.pack(">h", len(name)) + name.encode()


def frame(api, version, body, correlation=1):
    message = struct.pack(">hhih", api, version, correlation, -1) + body
    return struct.pack(">i", len(message)) + message


def batch(values, producer=-1, epoch=-1, sequence=-1, timestamp=1):
    """A record batch of values without keys, not compressed."""
    import crc32c
    records = b""
    for number, value in enumerate(values):
        record = b"\x00\x00" + varint(number) + b"\x01" + varint(len(value)) + value + b"\x00"
        records += varint(len(record)) + record
    after = struct.pack(">hiqqqhii", 0, len(values) - 1, timestamp, timestamp, producer, epoch, sequence, len(values)) + records
    return struct.pack(">qiibI", 0, 9 + len(after), -1, 2, crc32c.crc32c(after)) + after


def produce(topic, partition, records, acks, timeout_ms=30000):
    """A Produce request, version 7."""
    return frame(PRODUCE, 7, struct.pack(">hhii", -1, acks, timeout_ms, 1) + text(topic) + struct.pack(">iii", 1, partition, len(records)) + records)


def fetch_session(session, epoch, wanted, forgotten, wait_ms, rack, max_bytes):
    """A Fetch request, version 11."""
    body = struct.pack(">iiiibiii", -1, wait_ms, 1, max_bytes, 0, session, epoch, len(wanted))
    for topic, partitions in wanted.items():
        body += text(topic) + struct.pack(">i", len(partitions))
        for partition, offset in partitions.items():
            body += struct.pack(">iiqqi", partition, -1, offset, -1, max_bytes)
    body += struct.pack(">i", len(forgotten))
    for topic, partitions in forgotten.items():
        body += text(topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return frame(FETCH, 11, body + text(rack))


def read_fetch_session(body):
    _, error, session, count = struct.unpack_from(">ihii", body)
    at = 14
    parts = []
    for _ in range(count):
        size, = struct.unpack_from(">h", body, at)
        topic = body[at + 2:at + 2 + size].decode()
        partitions, = struct.unpack_from(">i", body, at + 2 + size)
        at += 6 + size
        for _ in range(partitions):
            partition, code, high_watermark, _, _, aborted = struct.unpack_from(">ihqqqi", body, at)
            at += 34 + 16 * max(aborted, 0)
            preferred, size = struct.unpack_from(">ii", body, at)
            at += 8 + max(size, 0)
            parts.append((topic, partition, code, high_watermark, preferred, body[at - max(size, 0):at]))
    return error, session, parts


def batches(data):
    """Yields (base offset, is whole and of good CRC, [values]) of uncompressed batches; a cut one at the end is left out."""
    import crc32c
    at = 0
    while at + BATCH_HEADER.size <= len(data):
        base, length, _, magic, crc, _, last, _, _, _, _, _, count = BATCH_HEADER.unpack_from(data, at)
        end = at + 12 + length
        if length < BATCH_HEADER.size - 12 or end > len(data):
            return
        if magic != 2 or crc32c.crc32c(data[at + 21:end]) != crc or last != count - 1:
            yield base, False, []
            return
        values = []
        position = at + BATCH_HEADER.size
        for _ in range(count):
            _, position = read_varint(data, position)
            position += 1
            for _ in range(2):
                _, position = read_varint(data, position)
            size, position = read_varint(data, position)
            position += max(size, 0)
            size, position = read_varint(data, position)
            values.append(data[position:position + max(size, 0)])
            position += max(size, 0)
            _, position = read_varint(data, position)
        yield base, True, values
        at = end


class Client:
    """One connection."""

    def __init__(self, port, timeout_s=20, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout_s)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def receive(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the broker closed the connection")
            data += part
        return bytes(data)

    def call(self, message):
        """The body of the answer, behind its correlation id."""
        self.socket.sendall(message)
        size, = struct.unpack(">i", self.receive(4))
        return self.receive(size)[4:]

    def produce(self, topic, partition, records, acks=-1, timeout_ms=30000):
        """(error, base offset)"""
        body = self.call(produce(topic, partition, records, acks, timeout_ms))
        return struct.unpack_from(">hq", body, 4 + 2 + len(topic.encode()) + 4 + 4)

    def list_offset(self, topic, partition, timestamp):
        """(error, offset), version 1."""
        body = self.call(frame(LIST_OFFSETS, 1, struct.pack(">ii", -1, 1) + text(topic) + struct.pack(">iiq", 1, partition, timestamp)))
        error, _, offset = struct.unpack_from(">hqq", body, 4 + 2 + len(topic.encode()) + 4 + 4)
        return error, offset

    def fetch(self, topic, partition, offset, max_bytes=1 << 20):
        """(error, high watermark, bytes of batches), version 4."""
        body = self.call(frame(FETCH, 4, struct.pack(">iiiibi", -1, 0, 1, max_bytes, 0, 1) + text(topic) +
                               struct.pack(">iiqi", 1, partition, offset, max_bytes)))
        at = 4 + 4 + 2 + len(topic.encode()) + 4
        _, error, high_watermark, _, aborted = struct.unpack_from(">ihqqi", body, at)
        at += 26 + 16 * max(aborted, 0)
        size, = struct.unpack_from(">i", body, at)
        return error, high_watermark, body[at + 4:at + 4 + max(size, 0)]

    def fetch_session(self, session=0, epoch=-1, wanted=None, forgotten=None, wait_ms=0, rack="", max_bytes=1 << 20):
        """wanted: {topic: {partition: offset}}, forgotten: {topic: [partition]} ->
        (error, session id, [(topic, partition, error, high watermark, preferred replica, bytes of batches)]), version 11."""
        self.socket.sendall(fetch_session(session, epoch, wanted or {}, forgotten or {}, wait_ms, rack, max_bytes))
        size, = struct.unpack(">i", self.receive(4))
        return read_fetch_session(self.receive(size)[4:])

    # ---- What comes in the flexible encoding, with a header of its kind ----

    def call_flexible(self, api, version, body):
        """Behind the header's tagged fields."""
        message = struct.pack(">hhihB", api, version, 1, -1, 0) + body
        self.socket.sendall(struct.pack(">i", len(message)) + message)
        size, = struct.unpack(">i", self.receive(4))
        return self.receive(size)[5:]

    def apis(self):
        """{api: (lowest version, highest)}"""
        body = self.call(frame(API_VERSIONS, 0, b""))
        error, count = struct.unpack_from(">hi", body)
        if error != NONE:
            raise OSError(f"ApiVersions: error {error}")
        rows = [struct.unpack_from(">hhh", body, 6 + 6 * n) for n in range(count)]
        return {api: (low, high) for api, low, high in rows}

    def reassign(self, topic, moves, timeout_ms=60000):
        """{partition: [brokers], or None to cancel} -> (error, {partition: error})"""
        body = struct.pack(">i", timeout_ms) + compact(1) + compact_text(topic) + compact(len(moves))
        for partition, brokers in moves.items():
            body += struct.pack(">i", partition)
            body += b"\x00" if brokers is None else compact(len(brokers)) + b"".join(struct.pack(">i", b) for b in brokers)
            body += b"\x00"
        read = Flexible(self.call_flexible(ALTER_PARTITION_REASSIGNMENTS, 0, body + b"\x00\x00"))
        read.number("i")
        error = read.number("h")
        read.text()
        errors = {}
        for _ in range(read.count()):
            read.text()
            for _ in range(read.count()):
                partition, code = read.number("i"), read.number("h")
                read.text()
                read.tags()
                errors[partition] = code
            read.tags()
        return error, errors

    def reassignments(self, timeout_ms=60000):
        """(error, {(topic, partition): ([replicas], [adding], [removing])})"""
        read = Flexible(self.call_flexible(LIST_PARTITION_REASSIGNMENTS, 0, struct.pack(">iBB", timeout_ms, 0, 0)))
        read.number("i")
        error = read.number("h")
        read.text()
        moving = {}
        for _ in range(read.count()):
            topic = read.text()
            for _ in range(read.count()):
                partition = read.number("i")
                moving[topic, partition] = tuple([read.number("i") for _ in range(read.count())] for _ in range(3))
                read.tags()
            read.tags()
        return error, moving


def compact(count):
    """The size of an array or a text in the flexible encoding: one more, 0 is null."""
    number = count + 1
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7f | 0x80,))
        number >>= 7
    return out + bytes((number,))


def compact_text(name):
    return compact(len(name.encode())) + name.encode()


class Flexible:
    """Reads the flexible encoding."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, kind):
        value, = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def count(self):
        return max(self.unsigned() - 1, 0)

    def text(self):
        size = self.count()
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def tags(self):
        for _ in range(self.unsigned()):
            self.unsigned()
            self.at += self.unsigned()
