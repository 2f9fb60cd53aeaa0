"""One record from kcat through raft_step, WAL and segment, and back; again after kill -9 and after a clean stop; with 1, 2 and 4 shards,
and with another number of shards at the next start."""
import subprocess

import balsa


def kcat(*args, data=None):
    return subprocess.run(["kcat", *args], input=data, capture_output=True, timeout=60, check=False)


def consume(broker, topic):
    return kcat("-C", "-e", "-q", "-b", broker.address, "-t", topic, "-o", "beginning").stdout.decode().split()


def one_shard_count(shards):
    with balsa.Broker(shards=shards) as broker:
        sent = [f"record-{n}" for n in range(100)]
        out = kcat("-P", "-b", broker.address, "-t", "smoke", data="\n".join(sent).encode())
        balsa.check(out.returncode == 0, f"{shards} shards: produce: {out.stderr}")
        balsa.check(consume(broker, "smoke") == sent, f"{shards} shards: what was produced comes back")
        broker.kill()
        broker.start()
        balsa.check(consume(broker, "smoke") == sent, f"{shards} shards: the same after kill -9")
        balsa.check(broker.stop() == 0, f"{shards} shards: clean stop")
        for other in (4, 1, 3):
            broker.shards = other
            broker.start()
            balsa.check(consume(broker, "smoke") == sent, f"{shards} -> {other} shards: the same")
            kcat("-P", "-b", broker.address, "-t", "smoke", data=f"with-{other}".encode())
            sent.append(f"with-{other}")
            broker.kill()


def main():
    if not balsa.have("kcat"):
        balsa.skip("smoke", "kcat is not installed")
        balsa.finish()
    for shards in (1, 2, 4):
        one_shard_count(shards)
    balsa.finish()


main()
