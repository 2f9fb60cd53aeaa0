"""acks=0: whatever arrived whole is stored, also when the sender closed its connection right after the last byte."""
import socket
import struct
import subprocess

import balsa

SMALL = 40
LARGE = 5


def batch(crc32c, value):
    record = b"\x00\x00\x00\x01" + varint(len(value)) + value + b"\x00"
    after_crc = struct.pack(">hiqqqhii", 0, 0, 1, 1, -1, -1, -1, 1) + varint(len(record)) + record
    return struct.pack(">qiibI", 0, 9 + len(after_crc), -1, 2, crc32c.crc32c(after_crc)) + after_crc


def varint(number):
    number <<= 1
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7f | 0x80,))
        number >>= 7
    return out + bytes((number,))


def produce(topic, records, acks):
    """Produce, version 7, one partition."""
    body = struct.pack(">hhih", 0, 7, 1, -1) + struct.pack(">hhii", -1, acks, 1000, 1) + struct.pack(">h", len(topic)) + topic
    body += struct.pack(">iii", 1, 0, len(records)) + records
    return struct.pack(">i", len(body)) + body


def end_offset(broker, topic):
    text = subprocess.run(["kcat", "-Q", "-b", broker.address, "-t", f"{topic}:0:-1"], capture_output=True, text=True, timeout=30,
                          check=False).stdout
    return int(text.split()[-1]) if "offset" in text else -1


def send_and_leave(broker, topic, frames):
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic], input=b"first", timeout=30, check=True)
    with socket.create_connection(("127.0.0.1", broker.port)) as client:
        client.sendall(b"".join(frames))


def main():
    try:
        import crc32c
    except ImportError as error:
        balsa.skip("acks0", str(error))
        balsa.finish()
    if not balsa.have("kcat"):
        balsa.skip("acks0", "kcat is not installed")
        balsa.finish()
    for shards in (1, 2):
        with balsa.Broker(shards=shards) as broker:
            for topic in [f"leave-{n}" for n in range(8)]:
                name = topic.encode()
                frames = [produce(name, batch(crc32c, b"small"), 0) for _ in range(SMALL)]
                frames += [produce(name, batch(crc32c, bytes(900000)), 0) for _ in range(LARGE)]
                send_and_leave(broker, topic, frames)
                due = 1 + SMALL + LARGE
                balsa.wait_until(lambda topic=topic, due=due: end_offset(broker, topic) == due, 10, 0.05)
                found = end_offset(broker, topic)
                balsa.check(found == due, f"{shards} shards, {topic}: {found} of {due} records are there")
            # An error is told by closing the connection, and nothing else comes from it.
            with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as client:
                client.sendall(produce(b"leave-0", b"no batch", 0))
                balsa.check(client.recv(100) == b"", "an error closes the connection, without an answer")
            balsa.check(broker.stop() == 0, "clean stop")
    balsa.finish()


main()
