"""balsactl produce and consume against three brokers: records to and from kcat, any bytes, a megabyte, codecs, a leader that dies meanwhile."""
import base64
import json
import os
import random
import signal
import subprocess
import threading

import admin
import balsa
import cluster
from balsa import check, finish, skip

BALSACTL = os.path.join(os.path.dirname(balsa.BALSAD), "balsactl")
WAIT_S = 120


class Ctl:
    def __init__(self, nodes):
        self.environment = {**os.environ, "BALSA_ADMIN": ",".join(admin.address(node) for node in nodes)}

    def __call__(self, *words, given=b""):
        """(exit code, stdout as bytes, stderr)"""
        done = subprocess.run([BALSACTL, *words], input=given, capture_output=True, timeout=WAIT_S, env=self.environment, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def start(self, *words):
        return subprocess.Popen([BALSACTL, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)

    def records(self, topic, *words):
        code, out, err = self("--output", "json", "consume", topic, *words)
        check(code == 0, f"consume {topic}: {code} {err}")
        return [json.loads(line) for line in out.decode().splitlines()]


def values(records):
    """Of records none of which is null."""
    return [base64.b64decode(record["value_base64"]) if "value_base64" in record else record["value"].encode() for record in records]


def kcat(brokers, *words, given=b""):
    done = subprocess.run(["kcat", "-b", brokers.addresses, *words], input=given, capture_output=True, timeout=WAIT_S, check=False)
    check(done.returncode == 0, f"kcat {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout


def with_kcat(brokers, ctl):
    brokers.create("mixed", 3)
    lines = b"a:1\nb:2\nc:\n\xff\x00x:\xfe\tq\nb:with:more\nlast:without a line feed"
    code, out, err = ctl("produce", "mixed", "--key-separator", ":", "--null-value", "", given=lines)
    check(code == 0 and out == b"6 records written\n", f"lines are written: {code} {out} {err}")
    got = set(kcat(brokers, "-C", "-t", "mixed", "-e", "-q", "-f", "%k|%S|%s;\n").split(b";\n")) - {b""}
    check(got == {b"a|1|1", b"b|1|2", b"c|-1|", b"\xff\x00x|3|\xfe\tq", b"b|9|with:more", b"last|19|without a line feed"}, f"kcat reads them: {got}")
    kcat(brokers, "-P", "-t", "mixed", "-p", "1", "-H", "h=1", "-H", "empty", "-k", "key", "-Z", given=b"headed\n")
    told = [record for record in ctl.records("mixed") if record["headers"]]
    check(len(told) == 1 and told[0]["key"] == "key" and told[0]["value"] == "headed" and told[0]["partition"] == 1 and
          told[0]["timestamp"] > 1_600_000_000_000 and [header["name"] for header in told[0]["headers"]] == ["h", "empty"] and
          told[0]["headers"][0]["value"] == "1", f"and what kcat wrote is read: {told}")
    where = {record["key"]: record["partition"] for record in ctl.records("mixed") if "key" in record}
    one = kcat(brokers, "-P", "-t", "mixed", "-X", "topic.partitioner=murmur2", "-K", ":", given=b"a:j\nb:j\nlast:j\n")
    check(one == b"" and {record["key"]: record["partition"] for record in ctl.records("mixed") if record.get("value") == "j"} ==
          {key: where[key] for key in ("a", "b", "last")}, "keys are where Java's clients have them")
    code, out, err = ctl("consume", "mixed")
    check(code == 0 and b"\t(null)\n" in out and b"\t\\xff\\x00x\t\\xfe\\tq\n" in out and b"\theaded\th=1,empty=" in out, f"as text: {out} {err}")


def any_bytes(ctl):
    noise = random.Random(7)
    lines = [noise.randbytes(noise.randrange(3000)).replace(b"\n", b"") for _ in range(2000)] + [b"", noise.randbytes(1_000_000).replace(b"\n", b"")]
    code, _, err = ctl("topic", "create", "bytes", "--partitions", "1")
    check(code == 0, err)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        code, out, err = ctl("produce", "bytes", "--compression", codec, given=b"".join(line + b"\n" for line in lines))
        check(code == 0 and out == f"{len(lines)} records written\n".encode(), f"any bytes, {codec}: {code} {out} {err}")
    code, out, err = ctl("--output", "raw", "consume", "bytes")
    check(code == 0 and out == 5 * b"".join(line + b"\n" for line in lines), f"any bytes come back in their order: {code}, {len(out)} bytes, {err}")
    check(values(ctl.records("bytes", "--from", str(len(lines) - 1), "--count", "1")) == [lines[-1]], "a megabyte, from an offset, one record")
    code, _, err = ctl("produce", "bytes", given=b"ok\n" + bytes(2_000_000))
    check(code == 4 and "line 2" in err and "MESSAGE_TOO_LARGE" in err and "1 records were written" in err, f"a line that is too large: {code} {err}")
    ctl("topic", "create", "small", "--partitions", "1", "--configs", "max.message.bytes=2000")
    code, _, err = ctl("produce", "small", given=b"".join(b"%d\n" % i for i in range(2000)))
    check(code == 0 and values(ctl.records("small")) == [b"%d" % i for i in range(2000)], f"a topic of small batches: {code} {err}")


def mistakes(ctl):
    for words, given, want, told in ((("consume", "nothing"), b"", 1, "topic create nothing"),
                                     (("produce", "nothing"), b"x\n", 1, "there is no topic"),
                                     (("consume", "small", "--partition", "5"), b"", 1, "partitions 0 to 0"),
                                     (("consume", "small", "--from", "99999"), b"", 1, "has offsets from 0 to before 2000"),
                                     (("consume", "small", "--from", "end"), b"", 2, "--follow"),
                                     (("consume", "small", "--from", "yesterday"), b"", 2, "beginning, end or an offset"),
                                     (("produce", "small", "--compression", "brotli"), b"", 2, "expected none, gzip"),
                                     (("produce", "small", "--key-separator", "|"), b"no separator\n", 2, "line 1 has no '|'"),
                                     (("--output", "raw", "topic", "list"), b"", 2, "--output raw"),
                                     (("produce",), b"", 2, "<topic> is missing"),
                                     (("--timeout", "1", "consume", "small", "--bootstrap", f"127.0.0.1:{balsa.free_port()}"), b"", 3, "127.0.0.1"),
                                     (("consume", "small", "--bootstrap", "nonsense"), b"", 2, "expected host:port")):
        code, _, err = ctl(*words, given=given)
        check(code == want and told in err, f"{' '.join(words)}: {code} {err}")


def follow(brokers, ctl):
    brokers.create("news", 3)
    reader = ctl.start("--output", "raw", "consume", "news", "--from", "beginning", "--follow")
    writer = ctl.start("produce", "news")
    for number in range(20):  # typed one by one: each is there before the next is written
        writer.stdin.write(b"%d\n" % number)
        writer.stdin.flush()
        line = reader.stdout.readline()
        check(line == b"%d\n" % number, f"line {number} is followed: {line}")
    writer.send_signal(signal.SIGINT)
    out, err = writer.communicate(timeout=WAIT_S)
    check(writer.returncode == 0 and out == b"20 records written\n", f"an interrupt ends produce well: {writer.returncode} {out} {err}")
    reader.send_signal(signal.SIGINT)
    out, err = reader.communicate(timeout=WAIT_S)
    check(reader.returncode == 0 and out == b"" and err == b"", f"and consume: {reader.returncode} {out} {err}")
    reader = ctl.start("consume", "news", "--follow")
    reader.stdout.readline()
    reader.stdout.close()
    ctl("produce", "news", given=b"for nobody\n")
    check(reader.wait(timeout=WAIT_S) == 0 and reader.stderr.read() == b"", "whose reader has gone ends quietly")


def killed_leader(brokers, ctl):
    """Lines without keys go everywhere, so some were on their way to the leader that dies; each is there once."""
    brokers.create("lasting", 3)
    writer = ctl.start("produce", "lasting")
    reader = ctl.start("--output", "json", "consume", "lasting", "--follow", "--count", "30000")
    told = []
    thread = threading.Thread(target=lambda: told.extend(reader.stdout), daemon=True)
    thread.start()
    victim = None
    for number in range(30000):
        writer.stdin.write(b"%d\n" % number)
        if number % 100 == 0:
            writer.stdin.flush()
        if number == 10000:
            balsa.wait_until(lambda: len(told) > 2000, WAIT_S)
            victim = brokers.leader_of("lasting", 0)
            brokers.kill(victim)
        elif number == 20000:
            balsa.wait_until(lambda: len(told) > 12000, WAIT_S)
            brokers.start(victim)
    out, err = writer.communicate(timeout=WAIT_S)
    check(writer.returncode == 0 and out == b"30000 records written\n", f"produce outlives a leader: {writer.returncode} {out} {err}")
    thread.join(WAIT_S)
    code = reader.wait(timeout=WAIT_S)
    check(code == 0 and sorted(int(json.loads(line)["value"]) for line in told) == list(range(30000)),
          f"and so does consume, each line once: {code}, {len(told)} lines, {reader.stderr.read()}")


def main():
    own = {number: admin.settings() for number in (1, 2, 3)}
    with cluster.Cluster(3, own=own) as brokers:
        ctl = Ctl([brokers[number] for number in (1, 2, 3)])
        if balsa.have("kcat"):
            with_kcat(brokers, ctl)
        else:
            skip("with kcat", "kcat is not installed")
        any_bytes(ctl)
        mistakes(ctl)
        follow(brokers, ctl)
        killed_leader(brokers, ctl)
    finish()


if __name__ == "__main__":
    main()
