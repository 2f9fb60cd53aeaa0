"""Partitions move between brokers while they are written: all that was acknowledged is where it was acknowledged, replicas are on exactly the
brokers wished for and are the same byte by byte, cancelled moves leave nothing behind, and a broker that comes back with an emptied disk gets
its replicas again. A drained broker loses its replicas, gets none, and is forgotten when it has been stopped. Leadership comes back to who
is preferred for it. min.insync.replicas above the majority holds. PARTITIONS=300 for more; ROLES=1 tells how long
partitions had no leader.
"""
import os
import random
import time

import balsa
import cluster
import history
import moves
import wire

NOT_REGISTERED, NOT_ENOUGH, NOT_ENOUGH_AFTER = 102, 19, 20
PARTITIONS = int(os.environ.get("PARTITIONS", "50"))
SHARDS = int(os.environ.get("SHARDS", "2"))
SEED = int(os.environ.get("SEED", "1"))
ROLES = "ROLES" in os.environ
CATCHUPS_MAX = 8  # of a broker; a leader that lost a group in the middle is counted for it until the member votes, so twice as many are let pass


def known(brokers, topic, of=1):
    """Its partitions by the word of that broker, which may take more than the two seconds that a question waits when all is busy."""
    return balsa.wait_until(lambda: brokers.metadata(of), 30, 0.1).topics[topic]


def assignment(brokers, topic, of=1):
    return [p.replicas for p in known(brokers, topic, of)]


def on_disk(brokers, topic, count):
    """Partition -> brokers that have a directory of it."""
    return [sorted(n for n in brokers.nodes if brokers.directory(n, topic, p)) for p in range(count)]


def check_places(brokers, what, topic, wanted, timeout_s=30):
    """Assigned, and on disk, exactly where it was wished for. Each broker has a copy of the metadata: one may be a moment behind that
    through which the moves were seen to be done."""
    is_assigned = balsa.wait_until(lambda: assignment(brokers, topic) == wanted, timeout_s, 0.1)
    other = [(p, has, wish) for p, (has, wish) in enumerate(zip(assignment(brokers, topic), wanted)) if has != wish]
    balsa.check(is_assigned, f"{what}: {len(other)} are not assigned as wished: (partition, brokers, wished) {other[:5]}")
    goal = [sorted(replicas) for replicas in wanted]
    balsa.wait_until(lambda: on_disk(brokers, topic, len(wanted)) == goal, timeout_s, 0.1)
    found = on_disk(brokers, topic, len(wanted))
    wrong = [p for p in range(len(wanted)) if found[p] != goal[p]]
    told = [f"{p}: wished on {goal[p]}, there are {brokers.directories(topic, p)}" for p in wrong[:5]]
    balsa.check(not wrong, f"{what}: {len(wrong)} of {len(wanted)} are not on disk as wished; {'; '.join(told)}")


def move_all(brokers, what, topic, wanted, through, load, timeout_s=120):
    start, clock = time.monotonic(), time.time()
    found = moves.alter(brokers[through], {(topic, p): replicas for p, replicas in enumerate(wanted)})
    wrong = {at: result for at, result in found.items() if result[0] != moves.NONE}
    balsa.check(not wrong, f"{what}: accepted; refused: {list(wrong.items())[:3]}")
    balsa.check(moves.wait_settled(brokers[through], timeout_s), f"{what}: done within {timeout_s} s; moving: {len(moves.listed(brokers[through]))}")
    end = time.monotonic()
    time.sleep(1)
    gap = max(load.gap(partition, start, end) for partition in range(len(wanted)))
    most = moves.catching_up(brokers, clock, time.time())
    print(f"  {what}: {len(wanted)} partitions in {end - start:.1f} s, longest time without an acknowledgement {gap:.2f} s, at most {most} "
          "new members of a broker's at once", flush=True)
    balsa.check(most <= 2 * CATCHUPS_MAX, f"{what}: {most} new members at once of one broker's")
    if ROLES:
        times = moves.leaderless(brokers, clock, time.time())
        longest, group = times[0] if times else (0, None)
        print(f"    {len(times)} times without a leader, the longest {longest * 1000:.0f} ms (group {group})", flush=True)


def refusals(brokers):
    """What cannot be is refused, through any broker, with Kafka's codes."""
    for number in brokers.nodes:
        node = brokers[number]
        topic = f"refused-{number}"
        brokers.create(topic, 1, 3)
        before = assignment(brokers, topic)
        for wish, error in (([1, 2, 9], moves.INVALID_ASSIGNMENT), ([1, 1, 2], moves.INVALID_ASSIGNMENT), ([], moves.INVALID_ASSIGNMENT),
                            (None, moves.NO_REASSIGNMENT)):
            found = moves.alter(node, {(topic, 0): wish})
            balsa.check(found[topic, 0][0] == error, f"broker {number}: {wish} is refused with {error}: {found}")
        found = moves.alter(node, {("no-such-topic", 0): [1], (topic, 7): [1]})
        balsa.check(all(code == moves.UNKNOWN_TOPIC for code, _ in found.values()), f"broker {number}: unknown partitions: {found}")
        balsa.check(assignment(brokers, topic) == before, f"broker {number}: nothing has changed")


def elections(brokers, topic, count):
    """Leadership goes where it is wished to, through any broker, and needs no wish where it is."""
    for number in brokers.nodes:
        found = moves.elect(brokers[number], {topic: list(range(count))})
        balsa.check(all(code in (moves.NONE, moves.NOT_NEEDED) for code in found.values()), f"broker {number}: preferred leaders: {found}")
        leaders = [p.leader for p in known(brokers, topic, number)]
        balsa.check(leaders == [r[0] for r in assignment(brokers, topic)], f"broker {number}: the first replicas lead: {leaders}")
        balsa.check(moves.elect(brokers[number], None) == {}, f"broker {number}: nothing is left to do")
    found = moves.elect(brokers[1], {topic: [0], "no-such-topic": [0]}, moves.UNCLEAN)
    balsa.check(found == {(topic, 0): moves.NOT_NEEDED, ("no-such-topic", 0): moves.UNKNOWN_TOPIC}, f"unclean: {found}")


def drain(rng):
    """A broker is decommissioned under load."""
    settings = {"broker.session.timeout.ms": 2000, "balsa.moves.max": 8, "leader.imbalance.check.interval.seconds": 1}
    with cluster.Cluster(4, shards=SHARDS, settings=settings) as brokers:
        topic = "drained"
        brokers.create(topic, PARTITIONS, 3)
        load = history.Load(brokers.addresses, topic, PARTITIONS, rng, rate=2000)
        load.start()
        load.wait_acked(2000)
        had = sum(4 in replicas for replicas in assignment(brokers, topic))
        balsa.check(had > PARTITIONS // 2, f"broker 4 has its share: {had} of {PARTITIONS}")
        balsa.check(moves.unregister(brokers[1], 9) == NOT_REGISTERED, "an unknown broker cannot be drained")
        start = time.monotonic()
        balsa.check(moves.unregister(brokers[2], 4) == 0, "drain is accepted")
        is_empty = balsa.wait_until(lambda: not any(4 in replicas for replicas in assignment(brokers, topic)) and not moves.listed(brokers[1]),
                                    120, 0.1)
        balsa.check(is_empty, f"broker 4 is drained: {sum(4 in replicas for replicas in assignment(brokers, topic))} left")
        print(f"  drained: {had} partitions in {time.monotonic() - start:.1f} s", flush=True)
        check_places(brokers, "drained", topic, assignment(brokers, topic), 60)
        brokers.create("later", 9, 3)
        balsa.check(not any(4 in replicas for replicas in assignment(brokers, "later")), "a drained broker gets no new replicas")
        balsa.check(4 in brokers.metadata(1).brokers, "it stays while it runs")
        brokers.stop(4)
        balsa.check(balsa.wait_until(lambda: 4 not in brokers.metadata(1).brokers, 30, 0.2), "it is forgotten when it has been stopped")

        brokers.kill(3)
        brokers.wait_led(topic)
        brokers.start(3)
        preferred = [replicas[0] for replicas in assignment(brokers, topic)]
        is_back = balsa.wait_until(lambda: [p.leader for p in known(brokers, topic)] == preferred, 60, 0.2)
        balsa.check(is_back, f"leadership is back where it is preferred: {[p.leader for p in known(brokers, topic)]}, {preferred}")
        load.finish()
        history.verify("drained", load, history.read_all(brokers.addresses, topic, PARTITIONS))
        brokers.check_replicas("drained", topic)


def insync():
    """All three replicas are asked for: with one away nothing is acknowledged to acks=all, and all is well again when it is back."""
    with cluster.Cluster(3, shards=SHARDS) as brokers:
        topic = "insync"
        brokers.create(topic, 1, 3, {"min.insync.replicas": "3"})

        def produce(acks=-1):
            leader = brokers[brokers.leader_of(topic, 0)]
            with wire.Client(leader.port, 30, leader.host) as client:
                return client.produce(topic, 0, wire.batch([b"0:x"]), acks)[0]
        balsa.check(produce() == wire.NONE, "all three: acknowledged")
        away = next(n for n in (1, 2, 3) if n != brokers.leader_of(topic, 0))
        brokers.kill(away)
        first = produce()
        balsa.check(first in (NOT_ENOUGH, NOT_ENOUGH_AFTER), f"two of three, the first time: {first}")
        balsa.check(produce() == NOT_ENOUGH, "two of three: refused before it is appended")
        balsa.check(produce(acks=1) == wire.NONE, "two of three: acks=1 is acknowledged")
        brokers.start(away)
        balsa.check(balsa.wait_until(lambda: produce() == wire.NONE, 60, 0.2), "all three again: acknowledged")


def main():
    cluster.need("moves")
    rng = random.Random(SEED)
    with cluster.Cluster(4, shards=SHARDS, settings={"balsa.log.level": "debug"} if ROLES else None) as brokers:
        refusals(brokers)
        topic = "moved"
        brokers.create(topic, PARTITIONS, 3)
        load = history.Load(brokers.addresses, topic, PARTITIONS, rng, rate=3000)
        load.start()
        load.wait_acked(3000)

        wanted = [rng.sample([1, 2, 3, 4], 3) for _ in range(PARTITIONS)]
        move_all(brokers, "to other brokers", topic, wanted, through=2, load=load)
        check_places(brokers, "to other brokers", topic, wanted)
        elections(brokers, topic, PARTITIONS)

        one = [[rng.choice([1, 2, 3, 4])] for _ in range(PARTITIONS)]
        move_all(brokers, "to one replica", topic, one, through=3, load=load)
        check_places(brokers, "to one replica", topic, one)
        back = [rng.sample([1, 2, 3, 4], 3) for _ in range(PARTITIONS)]
        move_all(brokers, "to three again", topic, back, through=4, load=load)
        check_places(brokers, "to three again", topic, back)

        other = [rng.sample([1, 2, 3, 4], 3) for _ in range(PARTITIONS)]
        moves.alter(brokers[1], {(topic, p): replicas for p, replicas in enumerate(other)})
        found = moves.alter(brokers[2], {(topic, p): None for p in range(PARTITIONS)})
        cancelled = [p for p in range(PARTITIONS) if found[topic, p][0] == moves.NONE]
        balsa.check(moves.wait_settled(brokers[3]), "cancelled: settled")
        balsa.check(all(code in (moves.NONE, moves.NO_REASSIGNMENT) for code, _ in found.values()), f"cancelled: {found}")
        wanted = [back[p] if p in cancelled else other[p] for p in range(PARTITIONS)]
        print(f"  cancelled: {len(cancelled)} of {PARTITIONS} in time", flush=True)
        check_places(brokers, "cancelled", topic, wanted)

        brokers.kill(4)
        brokers.wipe(4)
        brokers.start(4)
        brokers.wait_ready()
        load.wait_acked(3000)
        refill_s = 60 + PARTITIONS // 2  # some megabytes each, a few at a time
        balsa.check(balsa.wait_until(lambda: on_disk(brokers, topic, PARTITIONS) == [sorted(r) for r in wanted], refill_s, 0.2),
                    "a broker with an emptied disk has its replicas again")
        load.finish()
        count = history.verify("moves", load, history.read_all(brokers.addresses, topic, PARTITIONS))
        brokers.check_replicas("moves", topic)
        print(f"  {count} records", flush=True)
    drain(rng)
    insync()
    balsa.finish()


if __name__ == "__main__":
    main()
