"""Faults of the network between brokers, each of them a host of its own, under load: one host cut off both ways, and one way; packets lost;
packets late; a link that comes and goes. What was acknowledged stays, the majority goes on, a minority refuses writes, and all heals.

ROUNDS=5 for the long run."""
import random
import time

import balsa
import campaign
import cluster
import namespaces
import wire

ROUNDS = campaign.number("ROUNDS", 1)
PARTITIONS = 6
REFUSED_S = 15
SERVED_S = 10
REFUSALS = (wire.NOT_LEADER_OR_FOLLOWER, wire.NOT_ENOUGH_REPLICAS)


def refused(brokers, number, partition):
    """Writes by hand to a broker that is cut off until it refuses: (error, seconds); an acknowledgement ends it too."""
    start = time.monotonic()
    error = None
    while time.monotonic() - start < REFUSED_S:
        try:
            with wire.Client(brokers[number].port, REFUSED_S, brokers[number].host) as client:
                error, _ = client.produce("probe", partition, wire.batch([b"by the minority"]), timeout_ms=1000)
        except OSError as failed:
            error = str(failed)
        if error in REFUSALS or error == wire.NONE:
            break
        time.sleep(0.05)
    return error, time.monotonic() - start


def minority(run, net, number, **how):
    """One broker cut off: it refuses, the others serve."""
    brokers = run.cluster
    what = f"broker {number} cut off {how or 'both ways'}"
    probes = {p.number: p.leader for p in brokers.metadata().topics["probe"]}
    net.cut(number, **how)
    led = [p for p, leader in probes.items() if leader == number]
    for partition in led[:2]:
        error, took = refused(brokers, number, partition)
        balsa.check(error in REFUSALS, f"{what}: it must refuse writes to what it led, it says {error} after {took:.1f} s")
        print(f"  {what}: refuses with {error} after {took:.2f} s", flush=True)
    brokers[number].is_paused = True  # whom to ask: the others
    start = time.monotonic()
    served = [p for p in probes if brokers.write("probe", p, b"by the majority", max(SERVED_S - (time.monotonic() - start), 1)) is not None]
    balsa.check(len(served) == len(probes), f"{what}: the majority serves only partitions {served} within {SERVED_S} s: {brokers.metadata()}")
    print(f"  {what}: the majority serves all partitions after {time.monotonic() - start:.2f} s more", flush=True)
    time.sleep(1)
    brokers[number].is_paused = False
    net.heal()


def healed(run, what):
    took = run.wait_served()
    run.cluster.wait_ready()
    run.wait_in_sync()
    print(f"  {what}: all served {0 if took is None else took:.2f} s after it healed", flush=True)


def one_way(run, net, number, **how):
    """Half a cut: who may be leader is open, that the partitions are served is not. What must not happen shows at the end."""
    net.cut(number, **how)
    time.sleep(SERVED_S / 2)
    served = [p for p in range(PARTITIONS) if run.cluster.write("probe", p, b"half cut", SERVED_S) is not None]
    balsa.check(len(served) == PARTITIONS, f"broker {number} cut off {how}: only partitions {served} are served: {run.cluster.metadata()}")
    net.heal()


def weather(run, net, rng):
    """Loss, delay, flapping: service goes on."""
    for number in (1, 2, 3):
        net.lose(number, 10)
    time.sleep(2)
    took = run.wait_served()
    print(f"  10 % loss: every partition acknowledges within {0 if took is None else took:.2f} s", flush=True)
    net.heal()
    healed(run, "10 % loss")
    for number in (1, 2, 3):
        net.delay(number, 100)
    time.sleep(2)
    took = run.wait_served()
    print(f"  100 ms delay: every partition acknowledges within {0 if took is None else took:.2f} s", flush=True)
    net.heal()
    healed(run, "100 ms delay")
    number = rng.randrange(1, 4)
    for _ in range(6):
        net.cut(number)
        time.sleep(rng.uniform(0.2, 2.5))
        net.heal()
        time.sleep(rng.uniform(0.1, 1))
    healed(run, "flapping")


def main():
    cluster.need("netfault")
    reason = namespaces.why_not()
    if reason:
        balsa.skip("netfault", reason)
        balsa.finish()
    rng = random.Random(campaign.SEED)
    with namespaces.Namespaces(3) as net:
        numbers = (1, 2, 3)
        with cluster.Cluster(3, shards=2, settings=campaign.SETTINGS, hosts={n: net.host(n) for n in numbers},
                             commands={n: net.command(n) for n in numbers}) as brokers:
            brokers.create("probe", PARTITIONS)
            with campaign.campaign("network faults", brokers, PARTITIONS, rate=2000, sizes=(10, 100, 1000), window=500000) as run:
                for _ in range(ROUNDS):
                    minority(run, net, brokers.leader_of(campaign.TOPIC, 0))
                    healed(run, "cut both ways")
                    minority(run, net, brokers.controller())
                    healed(run, "the metadata's leader cut both ways")
                    one_way(run, net, brokers.leader_of(campaign.TOPIC, 1), towards=False)
                    healed(run, "nothing comes in")
                    one_way(run, net, brokers.leader_of(campaign.TOPIC, 1), back=False)
                    healed(run, "nothing goes out")
                    weather(run, net, rng)
            brokers.check_replicas("network faults", "probe")
    balsa.finish()


main()
