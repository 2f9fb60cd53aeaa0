"""A disk that fills up, on one broker and on all: each has a small ext4 of its own (needs root), and something else takes all that is free, at once
and again whenever some is, while clients write and read. No broker ends, nothing acknowledged is lost, reads go on, and writes resume unaided
within 10 s of relief; also when brokers are killed and started again meanwhile. ROUNDS=10 for the long run."""
import errno
import os
import tempfile
import time

import balsa
import campaign
import cluster
import loopfs
import wire

ROUNDS = campaign.number("ROUNDS", 2)
SIZE = 2 << 30
RATE = 600  # records a second: some 2.6 MB, so that it is another who fills the disk
FULL_S = float(os.environ.get("FULL_S", "8"))
RELIEF_S = 10
READ_S = 10  # leaders may change just then
GROWN_S = 240
IN_SYNC_S = 120  # some have to be caught up
SETTINGS = {**campaign.SETTINGS, "balsa.disk.reserve.bytes": 96 << 20}
SIZES = (10, 100, 1000, 1000, 20000)


class Hog:
    """Takes all the space of a file system, and goes on taking what becomes free."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "hog")

    def take(self):
        with open(self.path, "ab", buffering=0) as file:
            size = 1 << 30
            while size >= 4 << 10:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    size //= 2

    def leave(self):
        if os.path.exists(self.path):
            os.unlink(self.path)


def size_of(entry):
    """0 when it is gone since it was listed: a log removes its small files."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def wait_for_logs(what, brokers):
    """A write-ahead log starts with small files. Until it has two of full size to take turns with it needs space, and waits for it."""
    def are_grown():
        for node in brokers.nodes.values():
            logs = [folder for folder, _, names in os.walk(os.path.join(node.data, "wal")) if any(name.endswith(".wal") for name in names)]
            for folder in logs:
                sizes = [size_of(entry) for entry in os.scandir(folder) if entry.name.endswith(".wal")]
                if sizes.count(SETTINGS["balsa.wal.file.bytes"]) < 2:
                    return False
        return True
    balsa.check(balsa.wait_until(are_grown, GROWN_S, 0.5), f"{what}: write-ahead logs are not grown after {GROWN_S} s")


def all_run(what, brokers):
    dead = [node for node in brokers.nodes.values() if not node.is_running()]
    balsa.check(not dead, f"{what}: brokers {[node.number for node in dead]} ended:\n{brokers.tails()}")
    return not dead


def unread(node):
    """Partitions that the broker leads and that cannot be read there from their start: {partition: error}."""
    found = {}
    with wire.Client(node.port) as client:
        for part in node.metadata().topics[campaign.TOPIC]:
            if part.leader != node.number:
                continue
            error, start = client.list_offset(campaign.TOPIC, part.number, -2)
            data = None
            if error == 0:
                error, high, data = client.fetch(campaign.TOPIC, part.number, start)
            if error or not (data or high == start):
                found[part.number] = error
    return found


def reads_go_on(what, brokers, full):
    for number in full:
        node = brokers[number]
        balsa.wait_until(lambda node=node: not unread(node), READ_S)
        balsa.check(not unread(node), f"{what}: broker {number} does not read all it leads: {unread(node)}")


def stay_full(what, brokers, hogs, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and all_run(what, brokers):
        for hog in hogs.values():
            hog.take()
        time.sleep(0.05)


def fill_and_relieve(what, run, brokers, hogs, rounds):
    for at in range(rounds):
        for hog in hogs.values():
            hog.take()
        acked = len(run.load.acked)
        stay_full(what, brokers, hogs, FULL_S / 2)
        reads_go_on(what, brokers, hogs)
        if at % 2 == 1:
            brokers.kill(*hogs)
            brokers.start(*hogs)
            brokers.wait_ready()
        stay_full(what, brokers, hogs, FULL_S / 2)
        reads_go_on(what, brokers, hogs)
        print(f"  {what}: {len(run.load.acked) - acked} acknowledged while full", flush=True)
        for hog in hogs.values():
            hog.leave()
        took = run.wait_served()
        if took is not None:
            print(f"  {what}: served again {took:.1f} s after the relief", flush=True)
            balsa.check(took <= RELIEF_S * campaign.SLACK, f"{what}: served again only after {took:.1f} s")
        all_run(what, brokers)
        run.wait_in_sync(IN_SYNC_S)


def run_one(folder, count, full):
    what = f"{len(full)} of {count} full"
    disks = {}
    try:
        for number in range(1, count + 1):
            disks[number] = loopfs.LoopFs(os.path.join(folder, f"{count}-{len(full)}-{number}"), SIZE)
        data = {number: os.path.join(disk.target, "data") for number, disk in disks.items()}
        with cluster.Cluster(count, shards=2, settings=SETTINGS, data=data) as brokers:
            with campaign.campaign(what, brokers, 6, sizes=SIZES, rate=RATE) as run:
                wait_for_logs(what, brokers)
                fill_and_relieve(what, run, brokers, {n: Hog(disks[n].target) for n in full}, ROUNDS)
    finally:
        for disk in disks.values():
            disk.close()


def main():
    cluster.need("diskfull")
    with tempfile.TemporaryDirectory(prefix="balsa-full-") as folder:
        reason = loopfs.why_not(folder)
        if reason:
            balsa.skip("diskfull", reason)
            balsa.finish()
        run_one(folder, 1, [1])
        run_one(folder, 3, [1])
        run_one(folder, 3, [1, 2, 3])
    balsa.finish()


main()
