"""An idempotent producer's numbers, as seen on the wire, through deaths of leaders, a restart of all brokers, epochs (KIP-360) and expiry: what
was written is recognised, whoever leads; a gap is refused; an old epoch is fenced; a producer that was forgotten goes on.
"""
import struct
import time

import balsa
import cluster
import wire

INIT_PRODUCER_ID = 22
NONE, LEADER_NOT_AVAILABLE, NOT_LEADER, INVALID_REQUEST, OUT_OF_ORDER, INVALID_EPOCH = 0, 5, 6, 42, 45, 47
REPLICATION = (LEADER_NOT_AVAILABLE, NOT_LEADER, 19, 20)
TOPIC = "numbers"
EXPIRATION_MS = 1500


def init(node, producer=-1, epoch=-1):
    """(error, id, epoch) of InitProducerId, version 4."""
    with wire.Client(node.port, 20, node.host) as client:
        reader = wire.Flexible(client.call_flexible(INIT_PRODUCER_ID, 4, b"\x00" + struct.pack(">iqh", 60000, producer, epoch) + b"\x00"))
        reader.number("i")
        return reader.number("h"), reader.number("q"), reader.number("h")


def write(brokers, values, producer, epoch, sequence, timeout_s=30):
    """(error, base offset) of the first answer that is not about who leads; repeats as clients do."""
    records = wire.batch(values, producer, epoch, sequence)
    end = time.monotonic() + timeout_s
    while True:
        leader = brokers.leader_of(TOPIC, 0)
        try:
            with wire.Client(brokers[leader].port, 5, brokers[leader].host) as client:
                error, offset = client.produce(TOPIC, 0, records, timeout_ms=4000)
        except OSError:
            error = NOT_LEADER
        if error not in REPLICATION or time.monotonic() > end:
            return error, offset
        time.sleep(0.05)


def content(brokers):
    """All values of the partition."""
    leader = brokers.leader_of(TOPIC, 0)
    found, offset = [], 0
    with wire.Client(brokers[leader].port, 10, brokers[leader].host) as client:
        while True:
            error, high, data = client.fetch(TOPIC, 0, offset)
            balsa.check(error == NONE, f"fetch at {offset}: error {error}")
            if error != NONE or offset >= high:
                return found
            for base, is_good, values in wire.batches(data):
                balsa.check(is_good, f"the batch at {base} is whole")
                found += values
                offset = base + len(values)


def through_leaders(brokers):
    """Repeated, skipped and next numbers at each new leader, also after all brokers were killed."""
    error, producer, epoch = init(brokers[1])
    balsa.check((error, epoch) == (NONE, 0), f"a new producer: error {error}, epoch {epoch}")
    expected = []
    for turn in range(4):
        values = [b"%d-%d" % (turn, n) for n in range(3)]
        offset = len(expected)
        answer = write(brokers, values, producer, epoch, offset)
        balsa.check(answer == (NONE, offset), f"turn {turn}: the next batch: {answer}, expected at {offset}")
        expected += values
        leader = brokers.leader_of(TOPIC, 0)
        if turn == 2:
            brokers.kill(*brokers.nodes)
            brokers.start(*brokers.nodes)
        else:
            brokers.kill(leader)
        answer = write(brokers, values, producer, epoch, offset)
        balsa.check(answer == (NONE, offset), f"turn {turn}: the same batch at another leader: {answer}, expected {offset} again")
        answer = write(brokers, [b"gap"], producer, epoch, len(expected) + 1)
        balsa.check(answer[0] == OUT_OF_ORDER, f"turn {turn}: a batch behind a gap: {answer}, expected error {OUT_OF_ORDER}")
        if turn != 2:
            brokers.start(leader)
        brokers.wait_ready()
    balsa.check(content(brokers) == expected, f"after four leaders: {content(brokers)}, expected {expected}")
    return producer, expected


def epochs(brokers, producer, expected):
    """KIP-360: the producer asks for a higher epoch, begins at 0 again, and its former life is fenced, also at the next leader."""
    error, same, epoch = init(brokers[2], producer, 0)
    balsa.check((error, same, epoch) == (NONE, producer, 1), f"a higher epoch: {(error, same, epoch)}, expected {(NONE, producer, 1)}")
    answer = write(brokers, [b"late"], producer, 1, len(expected))
    balsa.check(answer[0] == OUT_OF_ORDER, f"a new epoch that does not begin at 0: {answer}")
    answer = write(brokers, [b"epoch 1"], producer, 1, 0)
    balsa.check(answer == (NONE, len(expected)), f"a new epoch from 0 on: {answer}")
    expected.append(b"epoch 1")
    leader = brokers.leader_of(TOPIC, 0)
    brokers.kill(leader)
    answer = write(brokers, [b"old"], producer, 0, len(expected) - 1)
    balsa.check(answer[0] == INVALID_EPOCH, f"a batch of the old epoch at the next leader: {answer}, expected error {INVALID_EPOCH}")
    answer = write(brokers, [b"epoch 1, next"], producer, 1, 1)
    balsa.check(answer == (NONE, len(expected)), f"the new epoch goes on: {answer}")
    expected.append(b"epoch 1, next")
    brokers.start(leader)
    brokers.wait_ready()
    error, other, epoch = init(brokers[3], producer, 32766)
    balsa.check(error == NONE and other != producer and epoch == 0, f"epochs used up: {(error, other, epoch)}, expected another id, epoch 0")
    for wrong in ((producer, -1), (-1, 3)):
        error, _, _ = init(brokers[1], *wrong)
        balsa.check(error == INVALID_REQUEST, f"id and epoch {wrong}: error {error}")


def expiry(brokers, producer, expected):
    """Silent for longer than producer.id.expiration.ms while others write: forgotten; its next batch is taken whatever its number."""
    time.sleep(EXPIRATION_MS / 1000 + 1)
    _, other, _ = init(brokers[1])
    answer = write(brokers, [b"another"], other, 0, 0)
    balsa.check(answer == (NONE, len(expected)), f"another producer: {answer}")
    expected.append(b"another")
    answer = write(brokers, [b"after a long silence"], producer, 1, 2)
    balsa.check(answer == (NONE, len(expected)), f"a producer that was forgotten goes on: {answer}")
    expected.append(b"after a long silence")
    _, young, _ = init(brokers[1])
    answer = write(brokers, [b"second before first"], young, 0, 5)
    balsa.check(answer[0] == OUT_OF_ORDER, f"a producer never known here begins with {answer}, expected error {OUT_OF_ORDER}")
    balsa.check(content(brokers) == expected, f"at the end: {content(brokers)}, expected {expected}")


def main():
    cluster.need("idempotence")
    with cluster.Cluster(3, shards=2, settings={"producer.id.expiration.ms": 3600000}) as brokers:
        brokers.create(TOPIC, 1, 3)
        producer, expected = through_leaders(brokers)
        epochs(brokers, producer, expected)
        brokers.check_replicas("idempotence", TOPIC)
    with cluster.Cluster(3, shards=1, settings={"producer.id.expiration.ms": EXPIRATION_MS}) as brokers:
        brokers.create(TOPIC, 1, 3)
        _, producer, _ = init(brokers[1])
        expected = [b"first"]
        answer = write(brokers, [b"first"], producer, 0, 0)
        balsa.check(answer == (NONE, 0), f"the first batch: {answer}")
        answer = write(brokers, [b"epoch 1"], producer, 1, 0)
        balsa.check(answer == (NONE, 1), f"the first batch of epoch 1: {answer}")
        expected.append(b"epoch 1")
        expiry(brokers, producer, expected)
        brokers.check_replicas("idempotence, expiry", TOPIC)
    balsa.finish()


main()
