"""acks=0: whatever arrived whole is stored, also when the sender closed its connection right after the last byte."""
import socket
import subprocess

import balsa
import wire

SMALL = 40
LARGE = 5


def end_offset(broker, topic):
    with wire.Client(broker.port) as client:
        return client.list_offset(topic, 0, -1)[1]


def send_and_leave(broker, topic, frames):
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic], input=b"first", timeout=30, check=True)
    with socket.create_connection(("127.0.0.1", broker.port)) as client:
        client.sendall(b"".join(frames))


def main():
    try:
        import crc32c  # noqa: F401
    except ImportError as error:
        balsa.skip("acks0", str(error))
        balsa.finish()
    if not balsa.have("kcat"):
        balsa.skip("acks0", "kcat is not installed")
        balsa.finish()
    for shards in (1, 2):
        with balsa.Broker(shards=shards) as broker:
            for topic in [f"leave-{n}" for n in range(8)]:
                frames = [wire.produce(topic, 0, wire.batch([b"small"]), 0) for _ in range(SMALL)]
                frames += [wire.produce(topic, 0, wire.batch([bytes(900000)]), 0) for _ in range(LARGE)]
                send_and_leave(broker, topic, frames)
                due = 1 + SMALL + LARGE
                balsa.wait_until(lambda topic=topic, due=due: end_offset(broker, topic) == due, 10, 0.05)
                found = end_offset(broker, topic)
                balsa.check(found == due, f"{shards} shards, {topic}: {found} of {due} records are there")
            # An error is told by closing the connection, and nothing else comes from it.
            with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as client:
                client.sendall(wire.produce("leave-0", 0, b"no batch", 0))
                balsa.check(client.recv(100) == b"", "an error closes the connection, without an answer")
            balsa.check(broker.stop() == 0, "clean stop")
    balsa.finish()


main()
