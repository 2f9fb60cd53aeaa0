"""Hostile clients against a broker whose well-behaved client must not notice: malformed, cut and random frames, absurd sizes, clients
that never read, some that send a byte a second, thousands of idle connections. The broker stays up, within its memory budget, and
answers others. HOSTILE_CONNECTIONS=10000 for the full count; BALSAD may name a sanitizer build.

The bound: resident memory at its highest, sampled all the time, is below what it was at the start plus the budget plus 32 MiB. Those are
buffers of the write-ahead log (4 MiB a shard), gathered segment bytes, one decoded request in work, one batch over the budget for each read
in work, pages of the metadata store, the allocator's ends of heaps, and a KiB for each idle connection.
"""
import glob
import os
import random
import resource
import socket
import struct
import sys
import threading
import time

import balsa

SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 30))))
CONNECTIONS = int(os.environ.get("HOSTILE_CONNECTIONS", "2000"))
BUDGET = 64 << 20
BESIDE = 32 << 20
FRAMES = sorted(glob.glob(os.path.join(balsa.ROOT, "tests/golden/frames/*.bin")))
API_VERSIONS = struct.pack(">hhih", 18, 0, 7, -1)


def connect(broker, timeout=5):
    return socket.create_connection(("127.0.0.1", broker.port), timeout=timeout)


def frame(body):
    return struct.pack(">i", len(body)) + body


def ask(sock):
    """One ApiVersions round trip; the time it took."""
    start = time.monotonic()
    sock.sendall(frame(API_VERSIONS))
    size = struct.unpack(">i", read_exactly(sock, 4))[0]
    body = read_exactly(sock, size)
    assert struct.unpack(">i", body[:4])[0] == 7
    return time.monotonic() - start


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


class Witness(threading.Thread):
    """A well-behaved client: asks all the time, notes the longest wait."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.sock = connect(broker, timeout=30)
        self.longest = 0
        self.rounds = 0
        self.failure = None
        self.done = False

    def run(self):
        try:
            while not self.done:
                self.longest = max(self.longest, ask(self.sock))
                self.rounds += 1
                time.sleep(0.005)
        except (OSError, AssertionError, struct.error) as failure:
            self.failure = failure


class Gauge(threading.Thread):
    """Resident memory of the broker, at its highest."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker = broker
        self.highest_kib = 0
        self.done = False

    def run(self):
        while not self.done:
            self.highest_kib = max(self.highest_kib, self.broker.resident_kib())
            time.sleep(0.005)


def send_and_drop(broker, data):
    """Sends, then reads until the broker answers, closes or falls silent for a moment."""
    with connect(broker) as sock:
        sock.settimeout(0.002)
        try:
            sock.sendall(data)
            sock.recv(65536)
        except OSError:
            pass


def malformed(broker, rng):
    for path in FRAMES:
        with open(path, "rb") as file:
            body = file.read()
        if struct.unpack(">h", body[:2])[0] in (19, 20, 37) or len(body) > 100000:
            continue  # creates and deletes topics: harmless, but slow
        cuts = range(len(body)) if len(body) < 60 else sorted(rng.sample(range(len(body)), 60))
        with connect(broker) as sock:
            sock.settimeout(0.001)
            for cut in cuts:
                try:
                    sock.sendall(frame(body[:cut]) if cut else struct.pack(">i", 0))
                except OSError:
                    break
        for cut in rng.sample(cuts, min(len(cuts), 12)):
            send_and_drop(broker, frame(body[:cut]))          # a prefix, announced as such
        send_and_drop(broker, struct.pack(">i", len(body)) + body[:-1])  # a prefix, cut off
        damaged = bytearray(body)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            send_and_drop(broker, frame(bytes(damaged)))
    balsa.check(True, "malformed frames were sent")


def random_frames(broker, rng, count=1500):
    for _ in range(count):
        header = struct.pack(">hhi", rng.choice((0, 1, 2, 3, 18, 19, 20, 22, 23, 32, 37, 60, rng.randrange(-5, 100))),
                             rng.randrange(-1, 20), rng.randrange(1 << 31))
        send_and_drop(broker, frame(header + rng.randbytes(rng.choice((0, 1, 10, 100, 2000)))))


def absurd_sizes(broker):
    for size in (-1, 0, -(1 << 31), (1 << 31) - 1, (30 << 20) + 1):
        with connect(broker) as sock:
            sock.sendall(struct.pack(">i", size) + b"x" * 100)
            try:
                closed = sock.recv(1) == b""
            except ConnectionError:
                closed = True
            except socket.timeout:
                closed = False
            balsa.check(closed, f"a frame of {size} bytes closes the connection")


def slow_senders(broker):
    """Each promises 29 MiB and sends a byte a second."""
    socks = [connect(broker) for _ in range(20)]
    for sock in socks:
        sock.sendall(struct.pack(">i", 29 << 20))
    for _ in range(3):
        time.sleep(1)
        for sock in socks:
            try:
                sock.sendall(b"x")
            except OSError:
                pass
    return socks


def greedy_senders(broker):
    """Together they send more than the budget in frames that never end."""
    socks = [connect(broker) for _ in range(8)]
    chunk = b"y" * (1 << 20)
    for sock in socks:
        sock.settimeout(0.2)
        try:
            sock.sendall(struct.pack(">i", 29 << 20))
            for _ in range(40):
                sock.sendall(chunk)
        except OSError:
            pass
    return socks


def cool(broker):
    """Drops what was written from the page cache: reads then happen off the loop, many at a time."""
    os.sync()
    for path in glob.glob(os.path.join(broker.data, "topics/*/*.log")):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def never_readers(broker, topic_bytes):
    """Ask for everything again and again, and read nothing."""
    cool(broker)
    body = struct.pack(">hhihiiiib", 1, 4, 9, -1, -1, 100, 1, 50 << 20, 0)
    body += struct.pack(">ih", 1, 3) + b"big" + struct.pack(">iiqi", 1, 0, 0, 50 << 20)
    socks = []
    for _ in range(30):
        sock = connect(broker)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.2)
        try:
            for _ in range(50):
                sock.sendall(frame(body))
        except OSError:
            pass
        socks.append(sock)
    balsa.check(topic_bytes > 0, "there is something to read")
    return socks


def produce_big(broker):
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5})
    for _ in range(40):
        producer.produce("big", os.urandom(900000))
        producer.poll(0)
    balsa.check(producer.flush(60) == 0, "36 MB were produced")
    return 40 * 900000


def run(broker, rng):
    have_client = True
    is_sanitized = "debug" in balsa.BALSAD
    before = broker.resident_kib()
    gauge = Gauge(broker)
    gauge.start()
    try:
        topic_bytes = produce_big(broker)
    except ImportError:
        have_client = False
    witness = Witness(broker)
    witness.start()
    malformed(broker, rng)
    random_frames(broker, rng)
    absurd_sizes(broker)
    alone = broker.resident_kib()
    idle = [connect(broker) for _ in range(CONNECTIONS)]
    balsa.check(all(ask(sock) < 15 for sock in idle), "every idle connection is served once")
    per_connection = (broker.resident_kib() - alone) / max(CONNECTIONS, 1)
    balsa.check(is_sanitized or per_connection < 2, f"an idle connection takes {per_connection:.1f} KiB")
    held = slow_senders(broker) + greedy_senders(broker)
    if have_client:
        held += never_readers(broker, topic_bytes)
    time.sleep(4)
    with connect(broker, timeout=20) as late:
        balsa.check(ask(late) < 15, "a new client is served while others sit on memory")
    if have_client:
        balsa.check(produce_big(broker) > 0, "producing goes on")
    gauge.done = True
    gauge.join()
    grown = (gauge.highest_kib - before) / 1024
    balsa.check(is_sanitized or grown < (BUDGET + BESIDE) >> 20,
                f"memory grew by {grown:.0f} MiB at most, the budget is {BUDGET >> 20} MiB and {BESIDE >> 20} MiB are beside it")
    for sock in idle[:50]:
        balsa.check(ask(sock) < 15, "an idle connection still works")
    witness.done = True
    witness.join(30)
    balsa.check(witness.failure is None, f"the well-behaved client failed: {witness.failure!r}")
    balsa.check(witness.longest < 10, f"the well-behaved client waited {witness.longest:.2f} s at most")
    print(f"  seed {SEED}: {len(idle)} idle connections of {per_connection:.2f} KiB, memory at most +{grown:.0f} MiB, {witness.rounds} rounds of "
          f"the witness, longest {1000 * witness.longest:.0f} ms", flush=True)
    for sock in idle + held:
        sock.close()


def raise_open_files():
    """Sockets for all connections, here and in the broker, which inherits the limit."""
    needed = CONNECTIONS + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        hard = max(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        sys.exit(f"{needed} open files are needed for {CONNECTIONS} connections, {hard} are allowed (it was {soft})")


def main():
    raise_open_files()
    settings = {"queued.max.request.bytes": BUDGET, "socket.request.max.bytes": 30 << 20, "message.max.bytes": 1100000, "num.partitions": 1}
    for shards in (1, 2):
        with balsa.Broker(shards=shards, settings=settings) as broker:
            run(broker, random.Random(SEED + shards))
            balsa.check(broker.stop() == 0, f"{shards} shards: clean stop afterwards")
    balsa.finish()


main()
