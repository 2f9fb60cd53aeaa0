"""SIGSTOP of a broker under load, as the leader of a partition and as one that only follows: the others go on, and whoever wakes up finds its
way back without doing harm. PAUSES="1 5 60" for the long run."""
import os
import time

import balsa
import campaign
import cluster

PAUSES = [float(n) for n in os.environ.get("PAUSES", "1 5").split()]
ELECTED_S = 4.0  # two election timeouts: by then somebody else leads what the paused broker led
PARTITIONS = 6


def pause(run, victim, seconds, role):
    """A client's own gap depends on how long it waits for the paused broker's answer, so who else serves is asked by hand."""
    what = f"{role} paused for {seconds:.0f} s"
    leaders = run.leaders()
    start = time.monotonic()
    run.cluster.pause(victim)
    if seconds > ELECTED_S:
        time.sleep(ELECTED_S)
        taken = [p for p in range(PARTITIONS) if run.cluster.write("probe", p, b"x", campaign.SLACK) is not None]
        balsa.check(len(taken) == PARTITIONS, f"{what}: after {ELECTED_S} s only partitions {taken} take records")
        balsa.check(victim not in run.leaders().values(), f"{what}: it still counts as a leader: {run.leaders()}")
    time.sleep(max(start + seconds - time.monotonic(), 0))
    run.cluster.resume(victim)
    took = run.wait_served()
    end = time.monotonic()
    led = [run.load.gap(p, start, end) for p, leader in leaders.items() if leader == victim]
    others = [run.load.gap(p, start, end) for p, leader in leaders.items() if leader != victim]
    run.wait_in_sync()
    print(f"  {what}: partitions that it led without acknowledgement for {campaign.milliseconds(led)}, the others for "
          f"{campaign.milliseconds(others)}; all served {0 if took is None else took:.2f} s after it woke up", flush=True)


def follower_of(leaders):
    """A broker that leads least."""
    return min((1, 2, 3), key=lambda number: list(leaders.values()).count(number))


def main():
    cluster.need("pause")
    with cluster.Cluster(3, shards=2, settings=campaign.SETTINGS) as brokers, \
            campaign.campaign("pauses", brokers, PARTITIONS, rate=3000, sizes=(10, 100, 1000), window=500000) as run:
        brokers.create("probe", PARTITIONS)
        for seconds in PAUSES:
            pause(run, brokers.leader_of(campaign.TOPIC, 0), seconds, "leader")
            pause(run, follower_of(run.leaders()), seconds, "follower")
            pause(run, brokers.controller(), seconds, "leader of the metadata")
    balsa.finish()


main()
