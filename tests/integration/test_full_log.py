"""More waits to be committed than the smallest log holds, sent by clients that wait for nothing, while a broker is away: the logs never stand
still because of what waits in them, everybody is answered, and nobody is cut off for what the brokers are slow at. WANTED=1000 for longer."""
import os
import threading
import time

import balsa
import campaign
import cluster
import wire

WANTED = campaign.number("WANTED", 160)  # acknowledged requests; a log holds 128 of them
PARTITIONS = 12
CONNECTIONS = 12  # to each leader; with DEPTH requests each, more than a log
DEPTH = 12
VALUE_SIZE = 1000000
STILL_S = 60      # nothing acknowledged for so long, by brokers that have nothing else to do, is a log that stands still


class Sender(threading.Thread):
    """One connection with DEPTH requests on their way, to the partitions that its broker leads."""

    def __init__(self, node, partitions, record):
        super().__init__(daemon=True)
        self.client = wire.Client(node.port, timeout_s=2 * STILL_S, host=node.host)
        self.requests = [wire.produce("bulk", p, record, -1, 120000) for p in partitions]
        self.is_done = threading.Event()
        self.sent = self.answered = 0
        self.errors = {}
        self.acked = []  # times
        self.broke = None

    def run(self):
        try:
            while not self.is_done.is_set() or self.answered < self.sent:
                if self.sent - self.answered < DEPTH and not self.is_done.is_set():
                    self.client.socket.sendall(self.requests[self.sent % len(self.requests)])
                    self.sent += 1
                else:
                    self.take()
        except OSError as error:
            self.broke = error
        self.client.close()

    def take(self):
        size = int.from_bytes(self.client.receive(4), "big")
        error = int.from_bytes(self.client.receive(size)[22:24], "big")
        self.answered += 1
        if error == wire.NONE:
            self.acked.append(time.monotonic())
        else:
            self.errors[error] = self.errors.get(error, 0) + 1


def overload(brokers):
    leaders = {p.number: p.leader for p in brokers.metadata().topics["bulk"]}
    record = wire.batch([os.urandom(VALUE_SIZE)])
    senders = [Sender(node, [p for p, leader in leaders.items() if leader == node.number], record)
               for node in brokers.running() for _ in range(CONNECTIONS)]
    start = time.monotonic()
    for sender in senders:
        sender.start()

    def acked():
        return sorted(at for sender in senders for at in sender.acked)

    def is_over():
        times = acked()
        return len(times) >= WANTED or time.monotonic() - (times[-1] if times else start) > STILL_S or all(s.broke for s in senders)
    balsa.wait_until(is_over, 3600, 0.1)
    for sender in senders:
        sender.is_done.set()
    for sender in senders:
        sender.join(2 * STILL_S)
    broke = [str(sender.broke or "no answer") for sender in senders if sender.broke or sender.is_alive()]
    errors = {}
    for sender in senders:
        for error, count in sender.errors.items():
            errors[error] = errors.get(error, 0) + count
    times = acked()
    print(f"  {sum(s.sent for s in senders)} requests of 1 MB, {len(times)} acknowledged in {time.monotonic() - start:.1f} s, errors {errors}", flush=True)
    balsa.check(len(times) >= WANTED, f"{len(times)} requests acknowledged, then none for {STILL_S} s\n{brokers.tails()}")
    balsa.check(not broke, f"{len(broke)} connections were not answered: {broke[:3]}\n{brokers.tails()}")


def main():
    cluster.need("full_log")
    with cluster.Cluster(3, settings=campaign.SETTINGS) as brokers:
        brokers.create("bulk", PARTITIONS)
        brokers.kill(3)
        brokers.wait_led("bulk")
        overload(brokers)
        silent = [p for p in range(PARTITIONS) if brokers.write("bulk", p, b"after") is None]
        balsa.check(not silent, f"partitions {silent} take no more records")
        brokers.start(3)
        brokers.check_replicas("full_log", "bulk", 300)
    balsa.finish()


main()
