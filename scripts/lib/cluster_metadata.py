"""One question of Kafka's protocol, with the standard library alone: what does this broker know of the cluster (Metadata, version 2)."""
import collections
import socket
import struct

Cluster = collections.namedtuple("Cluster", "cluster_id controller brokers topics")  # brokers: {id: (host, port)}, topics: {name: [Partition]}
Partition = collections.namedtuple("Partition", "error number leader replicas in_sync")
METADATA = 3
VERSION = 2


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, kind):
        value, = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def text(self):
        size = self.number("h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def numbers(self):
        return [self.number("i") for _ in range(self.number("i"))]


def _receive(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the broker closed the connection")
        data += part
    return bytes(data)


def _topic(reader):
    error, name, _ = reader.number("h"), reader.text(), reader.number("b")
    partitions = [Partition(reader.number("h"), reader.number("i"), reader.number("i"), reader.numbers(), reader.numbers())
                  for _ in range(reader.number("i"))]
    return name, error, sorted(partitions, key=lambda p: p.number)


def metadata(host, port, timeout_s=5):
    """All brokers and topics as that broker sees them; an OSError when it does not answer."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        message = struct.pack(">hhihi", METADATA, VERSION, 1, -1, -1)
        connection.sendall(struct.pack(">i", len(message)) + message)
        size, = struct.unpack(">i", _receive(connection, 4))
        reader = _Reader(_receive(connection, size))
    reader.number("i")
    brokers = {}
    for _ in range(reader.number("i")):
        node, name, at = reader.number("i"), reader.text(), reader.number("i")
        reader.text()
        brokers[node] = (name, at)
    cluster_id, controller = reader.text(), reader.number("i")
    topics = [_topic(reader) for _ in range(reader.number("i"))]
    return Cluster(cluster_id, controller, brokers, {name: partitions for name, error, partitions in topics if error == 0})
