"""Who belongs to a cluster: brokers that start at the same moment found one cluster, also when one of them is late; a broker of another cluster,
and a second one with the same node.id, are refused with a message that says what to do. STARTS=20 for the long run."""
import time

import balsa
import campaign
import cluster

STARTS = campaign.number("STARTS", 4)
LATE_S = 8


def ids(brokers):
    return {node.number: node.metadata().cluster_id for node in brokers.running()}


def same_moment():
    for turn in range(STARTS):
        with cluster.Cluster(5 if turn % 4 == 3 else 3, shards=1 + turn % 2) as brokers:
            found = ids(brokers)
            balsa.check(len(set(found.values())) == 1 and None not in found.values(), f"start {turn}: brokers are in clusters {found}")
            balsa.check(len({node.metadata().controller for node in brokers.running()}) == 1, f"start {turn}: one controller")
            brokers.kill()
            brokers.start()
            brokers.wait_ready()
            balsa.check(ids(brokers) == found, f"start {turn}: the same cluster after kill -9 of all: {found}, {ids(brokers)}")


def late_seed():
    brokers = cluster.Cluster(3)
    try:
        brokers.start(1, 2, wait=False)
        time.sleep(LATE_S)
        for number in (1, 2):
            balsa.check(brokers[number].is_running(), f"late seed: broker {number} waits")
            balsa.check(brokers[3].peer_address in brokers[number].log_tail(100),
                        f"late seed: broker {number} says whom it waits for:\n{brokers[number].log_tail()}")
        brokers.start(3)
        brokers.wait_ready()
        balsa.check(len(set(ids(brokers).values())) == 1, f"late seed: {ids(brokers)}")
        brokers.create("late", 3)
    finally:
        brokers.close()


def later_broker():
    """A fourth broker joins what is there."""
    with cluster.Cluster(3) as brokers:
        before = ids(brokers)[1]
        brokers.add(4)
        brokers.start(4)
        brokers.wait_ready()
        balsa.check(set(ids(brokers).values()) == {before}, f"a fourth broker joins: {ids(brokers)}")
        brokers.create("four", 8)
        replicas = {n for p in brokers.metadata().topics["four"] for n in p.replicas}
        balsa.check(4 in replicas, f"the fourth broker gets replicas of a new topic: {replicas}")
        brokers.kill(4)
        brokers.start(4)
        brokers.wait_ready()


def says(node, *words, timeout_s=20):
    """Whether the log has a line with all of these words."""
    def found():
        with open(node.log_path, encoding="utf-8", errors="replace") as log:
            return any(all(word in line for word in words) for line in log)
    return balsa.wait_until(found, timeout_s, 0.1)


def of_another_cluster():
    with cluster.Cluster(3) as ours:
        theirs = cluster.Cluster(1)
        try:
            stranger = theirs[1]
            stranger.number = 9
            theirs.start().wait_ready()
            our_id, their_id = ids(ours)[1], ids(theirs)[9]
            theirs.kill()
            theirs.seeds = ours.seeds
            stranger.start(wait=False)
            balsa.check(says(stranger, our_id, their_id), f"a broker of cluster {their_id} that is pointed at {our_id} says so:\n{stranger.log_tail()}")
            balsa.check(set(ours.metadata().brokers) == {1, 2, 3}, f"and is not among the others: {ours.metadata().brokers}")
            balsa.check(all(node.is_running() for node in ours.nodes.values()), "who are not disturbed")
            if stranger.is_running():
                stranger.kill()
        finally:
            theirs.close()


def same_number_twice():
    with cluster.Cluster(3) as brokers:
        twin = brokers.add(4)
        brokers.nodes.pop(4)
        twin.number = 2
        twin.start(wait=False)
        text = "node.id"
        balsa.check(says(twin, text, "2"), f"a second broker with node.id 2 is told so:\n{twin.log_tail()}")
        time.sleep(2)
        balsa.check(brokers.metadata().brokers[2] == (brokers[2].host, brokers[2].port), f"the first one stays: {brokers.metadata().brokers}")
        brokers.create("twins", 3)
        if twin.is_running():
            twin.kill()


def main():
    cluster.need("strangers")
    same_moment()
    late_seed()
    later_broker()
    of_another_cluster()
    same_number_twice()
    balsa.finish()


main()
