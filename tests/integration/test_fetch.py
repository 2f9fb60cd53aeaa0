"""Fetch sessions (KIP-227) and reading from followers (KIP-392), by hand: what is in each answer, byte counts, and that a consumer of another rack
is sent to the replica in its own, which never says that an offset is out of range that the leader has.

What polls of idle partitions cost with and without a session is printed.
"""
import os
import sys
import threading
import time

import balsa
import cluster
import wire

IDLE = int(os.environ.get("IDLE", "1000"))
NOT_FOUND, BAD_EPOCH, NOT_AVAILABLE = 70, 71, 78
RACK_AWARE = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


def create(broker, topic, partitions, replicas=1):
    sys.path.insert(0, os.path.join(balsa.ROOT, "scripts", "lib"))
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(topic, partitions, replicas)])[topic].result(30)
    # the leaders of all
    balsa.wait_until(lambda: all(p.leader >= 0 for p in admin.list_topics(topic, timeout=10).topics[topic].partitions.values()), 20, 0.05)


def names(parts):
    return [(topic, partition) for topic, partition, *_ in parts]


def sessions(shards):
    with balsa.Broker(shards=shards, settings={"max.incremental.fetch.session.cache.slots": 4 * shards}) as broker:
        create(broker, "t", 4)
        create(broker, "u", 2)
        client = wire.Client(broker.port)
        every = [("t", 0), ("t", 1), ("t", 2), ("t", 3), ("u", 0), ("u", 1)]
        wanted = {"t": {p: 0 for p in range(4)}, "u": {0: 0, 1: 0}}

        error, session, parts = client.fetch_session(0, -1, wanted)
        balsa.check((error, session, names(parts)) == (0, 0, every), f"without a wish there is no session: {error, session, names(parts)}")
        error, session, parts = client.fetch_session(0, 0, wanted)
        balsa.check(error == 0 and session > 0 and names(parts) == every, f"a full request makes a session: {error, session, names(parts)}")
        start = time.monotonic()
        error, same, parts = client.fetch_session(session, 1, wait_ms=300)
        balsa.check((error, same, parts) == (0, session, []), f"nothing new, nothing told: {error, same, parts}")
        balsa.check(time.monotonic() - start >= 0.25, "an empty incremental fetch waits")

        balsa.check(client.produce("t", 2, wire.batch([b"one"])) == (0, 0), "produce")
        error, _, parts = client.fetch_session(session, 2, wait_ms=5000)
        balsa.check(error == 0 and names(parts) == [("t", 2)] and parts[0][3] == 1 and len(parts[0][5]) > 0, f"only what is new: {parts}")
        error, _, parts = client.fetch_session(session, 3, {"t": {2: 1}})
        balsa.check((error, parts) == (0, []), f"a new position alone is no news: {parts}")

        # A producer while the poll waits.
        other = wire.Client(broker.port)
        thread = threading.Thread(target=lambda: (time.sleep(0.2), other.produce("u", 1, wire.batch([b"x"]))))
        thread.start()
        error, _, parts = client.fetch_session(session, 4, wait_ms=20000)
        thread.join()
        balsa.check(error == 0 and names(parts) == [("u", 1)], f"a waiting incremental fetch is woken: {parts}")

        for epoch in (4, 6, 5000):
            error, zero, parts = client.fetch_session(session, epoch)
            balsa.check((error, zero, parts) == (BAD_EPOCH, 0, []), f"epoch {epoch} is not the next: {error, zero, parts}")
        error, _, parts = client.fetch_session(session ^ 1, 5)
        balsa.check((error, parts) == (NOT_FOUND, []), f"no such session: {error}")

        error, _, parts = client.fetch_session(session, 5, {"u": {1: 1}, "none": {0: 0}}, {"t": [2]})
        balsa.check(error == 0 and [part[:3] for part in parts] == [("none", 0, 3)], f"an unknown topic is told: {parts}")
        error, _, parts = client.fetch_session(session, 6)
        balsa.check(error == 0 and [part[:3] for part in parts] == [("none", 0, 3)], f"and told again: {parts}")
        client.produce("t", 2, wire.batch([b"two"]))
        error, _, parts = client.fetch_session(session, 7, forgotten={"none": [0]})
        balsa.check((error, parts) == (0, []), f"what was forgotten is not told: {parts}")
        rotation(client, broker)
        error, zero, parts = client.fetch_session(session, -1, {"t": {0: 0}})
        balsa.check((error, zero, names(parts)) == (0, 0, [("t", 0)]), "closed")
        balsa.check(client.fetch_session(session, 8)[0] == NOT_FOUND, "a closed session is not found")

        made = [client.fetch_session(0, 0, wanted)[1] for _ in range(10)]
        balsa.check(0 in made and len(set(made)) == len([s for s in made if s]) + 1, f"slots are bounded, ids differ: {made}")
        error, zero, parts = client.fetch_session(0, 0, wanted)
        balsa.check((error, zero, names(parts)) == (0, 0, every), "without a slot all are answered")


def rotation(client, broker):
    """KAFKA-12330: a busy partition does not starve the others."""
    big = wire.batch([b"z" * 3000])
    for partition in (0, 1, 3):
        for _ in range(8):
            client.produce("t", partition, big)
    offsets = {0: 0, 1: 0, 3: 0}
    _, session, parts = client.fetch_session(0, 0, {"t": offsets}, max_bytes=3500)
    served = []
    for epoch in range(1, 13):
        moved = {}
        for _, partition, _, _, _, data in parts:
            found = [base for base, _, _ in wire.batches(data)]
            if found:
                served.append(partition)
                moved[partition] = found[-1] + 1
        _, _, parts = client.fetch_session(session, epoch, {"t": moved} if moved else {}, max_bytes=3500)
    counts = [served.count(p) for p in offsets]
    balsa.check(min(counts) >= 3, f"all are served in turn: {served}")
    client.fetch_session(session, -1, {})


def restart():
    """A session does not survive its broker."""
    with balsa.Broker() as broker:
        create(broker, "t", 1)
        client = wire.Client(broker.port)
        _, session, _ = client.fetch_session(0, 0, {"t": {0: 0}})
        broker.kill()
        broker.start()
        client = wire.Client(broker.port)
        balsa.check(client.fetch_session(session, 1)[0] == NOT_FOUND, "a session of before the restart is not found")


def poll_cost(broker, client, polls, request):
    """(bytes sent, bytes received, CPU microseconds) of one poll."""
    sent = received = 0
    cpu = broker.cpu_seconds()
    for number in range(polls):
        message = request(number)
        sent += len(message)
        client.socket.sendall(message)
        size = int.from_bytes(client.receive(4), "big")
        received += 4 + len(client.receive(size))
    return sent / polls, received / polls, (broker.cpu_seconds() - cpu) * 1e6 / polls


def measure(shards):
    with balsa.Broker(shards=shards) as broker:
        create(broker, "idle", IDLE)
        client = wire.Client(broker.port)
        wanted = {"idle": {p: 0 for p in range(IDLE)}}
        full = poll_cost(broker, client, 500, lambda _: wire.fetch_session(0, -1, wanted, {}, 0, "", 1 << 20))
        _, session, parts = client.fetch_session(0, 0, wanted)
        balsa.check(len(parts) == IDLE, "all partitions are in the first answer")
        part = poll_cost(broker, client, 500, lambda n: wire.fetch_session(session, n + 1, {}, {}, 0, "", 1 << 20))
        print(f"  {shards} shards, {IDLE} idle partitions, a poll: {full[0]:.0f} + {full[1]:.0f} bytes and {full[2]:.0f} us of CPU without a session, "
              f"{part[0]:.0f} + {part[1]:.0f} bytes and {part[2]:.0f} us with one", flush=True)
        balsa.check(part[0] + part[1] < 150, "an idle poll of a session is a few bytes")


# ---- Followers ----


def followers():
    own = {n: {"broker.rack": f"r{n}"} for n in (1, 2, 3)}
    settings = {"replica.selector.class": RACK_AWARE, "leader.imbalance.check.interval.seconds": 3600}
    with cluster.Cluster(3, settings=settings, own=own) as brokers:
        create(brokers[1], "t", 1, 3)
        leader = brokers.leader_of("t", 0)
        near, far = [n for n in (1, 2, 3) if n != leader]
        client = {n: wire.Client(brokers[n].port) for n in (1, 2, 3)}
        for _ in range(10):  # a leader that was just elected may refuse at first
            balsa.check(brokers.write("t", 0, b"value") is not None, "a record is written")

        def preferred(rack, number=leader):
            _, _, parts = client[number].fetch_session(0, -1, {"t": {0: 0}}, rack=rack)
            return parts[0]

        balsa.check(preferred("")[4] == -1 and len(preferred("")[5]) > 0, "without a rack the leader serves")
        balsa.check(preferred(f"r{leader}")[4] == -1 and len(preferred(f"r{leader}")[5]) > 0, "in the leader's rack the leader serves")
        balsa.check(preferred("elsewhere")[4] == -1 and len(preferred("elsewhere")[5]) > 0, "of a rack without replica the leader serves")
        for number in (near, far):
            part = balsa.wait_until(lambda n=number: (lambda p: p if p[4] == n else None)(preferred(f"r{n}")), 10, 0.05) or preferred(f"r{number}")
            balsa.check(part[2] == 0 and part[4] == number and part[5] == b"" and part[3] == 10, f"rack r{number}: {part}")
        part = preferred("", near)
        balsa.check(part[2] == wire.NOT_LEADER_OR_FOLLOWER, f"a follower serves nobody who names no rack: {part}")
        part = balsa.wait_until(lambda: (lambda p: p if p[3] == 10 else None)(preferred(f"r{near}", near)), 10, 0.05)
        balsa.check(part and part[2] == 0 and part[4] == -1 and sum(len(v) for _, _, v in wire.batches(part[5])) == 10, f"a follower serves its rack: {part}")

        rack = f"r{near}"
        start = time.monotonic()
        _, _, parts = client[near].fetch_session(0, -1, {"t": {0: 11}}, wait_ms=400, rack=rack)
        balsa.check(parts[0][2] == NOT_AVAILABLE and time.monotonic() - start > 0.3, f"beyond its end a follower waits, then cannot say: {parts}")
        _, _, parts = client[leader].fetch_session(0, -1, {"t": {0: 11}}, rack=f"r{leader}")
        balsa.check(parts[0][2] == wire.OFFSET_OUT_OF_RANGE, f"the leader can: {parts}")
        tail(client[leader], client[near], rack)
        # A follower that hears no leader must not keep readers.
        other = far
        brokers[leader].pause()
        brokers[other].pause()
        part = balsa.wait_until(lambda: (lambda p: p if p[2] == wire.NOT_LEADER_OR_FOLLOWER else None)(preferred(rack, near)), 30, 0.1)
        balsa.check(part is not None, "a follower without a leader sends its readers away")
        brokers[leader].resume()
        brokers[other].resume()


def tail(leader, follower, rack):
    """A reader at the end of a follower: every record, in order, and nothing goes back."""
    total = 400

    def write():
        for number in range(total):
            leader.produce("t", 0, wire.batch([b"%d" % number]))

    thread = threading.Thread(target=write)
    thread.start()
    _, session, parts = follower.fetch_session(0, 0, {"t": {0: 10}}, rack=rack)
    offset, epoch, seen, watermark, errors = 10, 1, [], 0, []
    end = time.monotonic() + 60
    while len(seen) < total and time.monotonic() < end:
        moved = {}
        for _, _, error, high, _, data in parts:
            if error:
                errors.append(error)
                continue
            balsa.check(high >= watermark, f"the high watermark went from {watermark} to {high}") if high < watermark else None
            watermark = high
            for base, whole, values in wire.batches(data):
                if base >= offset and whole:
                    seen += values
                    offset = base + len(values)
                    moved = {"t": {0: offset}}
        error, _, parts = follower.fetch_session(session, epoch, moved, wait_ms=500, rack=rack)
        balsa.check(error == 0, f"session error {error}") if error else None
        epoch += 1
    thread.join()
    balsa.check(seen == [b"%d" % n for n in range(total)] and not errors, f"a reader of a follower sees all in order: {len(seen)}, errors {errors}")


def main():
    for shards in (1, 2):
        sessions(shards)
    restart()
    for shards in (1, 2):
        measure(shards)
    followers()
    balsa.finish()


main()
