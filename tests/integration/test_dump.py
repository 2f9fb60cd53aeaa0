"""Kafka's own dump tool reads what a broker wrote: every codec, small segments, an idempotent producer, after kill -9."""
import os
import subprocess

import balsa
import kafka_dump

LINES = 20000
SETTINGS = {"log.segment.bytes": 1048576, "log.index.interval.bytes": 4096}
CASES = {
    "none": [],
    "gzip": ["-z", "gzip"],
    "snappy": ["-z", "snappy"],
    "lz4": ["-z", "lz4"],
    "zstd": ["-z", "zstd"],
    "idempotent": ["-X", "enable.idempotence=true"],
}


def produce(broker, topic, options):
    lines = "\n".join(f"{n}:{os.urandom(40).hex()}" for n in range(LINES))
    command = ["kcat", "-P", "-b", broker.address, "-t", topic, "-K:", "-X", "batch.size=16384", *options]
    return subprocess.run(command, input=lines.encode(), capture_output=True, timeout=120, check=False)


def main():
    class_path, why = kafka_dump.prepare()
    if class_path is None or not balsa.have("kcat"):
        balsa.skip("dump", why or "kcat is not installed")
        balsa.finish()
    with balsa.Broker(shards=2, settings=SETTINGS) as broker:
        for topic, options in CASES.items():
            out = produce(broker, topic, options)
            balsa.check(out.returncode == 0, f"{topic}: produce: {out.stderr[-300:]}")
        broker.kill()
        broker.start()
        for topic, options in CASES.items():
            out = produce(broker, topic, options)
            balsa.check(out.returncode == 0, f"{topic}: produce again: {out.stderr[-300:]}")
        balsa.check(broker.stop() == 0, "clean stop")
        found = kafka_dump.check_below(class_path, broker.data)
        balsa.check(found >= 2 * len(CASES), f"{found} segments were dumped")
    balsa.finish()


main()
