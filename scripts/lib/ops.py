"""What the scripts of scripts/ops share: balsactl's answers, probes, and when a cluster is whole.

    BALSA_ADMIN      admin addresses of brokers, with commas between    (127.0.0.1:9292)
    BALSA_HTTP       balsa.http.listener of every broker, with commas between: its probes are asked
    BALSA_BOOTSTRAP  where Kafka clients connect                        (127.0.0.1:9092)
    BALSACTL         the program                                        (build/release/balsactl, or the one in PATH)
"""
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = os.path.join(ROOT, "build", "release", "balsactl")
BALSACTL = os.environ.get("BALSACTL") or (BUILT if os.path.exists(BUILT) else shutil.which("balsactl"))
BOOTSTRAP = os.environ.get("BALSA_BOOTSTRAP", "127.0.0.1:9092")
UNREACHABLE, IN_DOUBT = 3, 4  # exit codes of balsactl
PROBE_S = 5
ASK_S = 0.5


class Refused(Exception):
    """What balsactl says when a call fails, and its exit code."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


def say(text):
    print(text, flush=True)


def die(text):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)
    sys.exit(1)


def ctl(*words, timeout_s=30):
    """The answer of one command."""
    if not BALSACTL:
        die("there is no balsactl: run make, or name it with BALSACTL")
    command = [BALSACTL, "--output", "json", "--timeout", str(timeout_s), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr.strip().removeprefix("balsactl: "), done.returncode)
    return json.loads(done.stdout) if done.stdout.strip() else {}


def ask(*words, timeout_s=30):
    """As ctl(), for what may be asked again: it is, while brokers come and go, at most for two minutes."""
    end = time.monotonic() + 120
    while True:
        try:
            return ctl(*words, timeout_s=timeout_s)
        except Refused as why:
            if why.code not in (UNREACHABLE, IN_DOUBT) or time.monotonic() > end:
                raise
        time.sleep(ASK_S)


def probes():
    listeners = [one.strip() for one in os.environ.get("BALSA_HTTP", "").split(",") if one.strip()]
    if not listeners:
        die("name the probes of all brokers: BALSA_HTTP=host:port,host:port,...")
    return listeners


def probe(listener):
    """What keeps the broker from being ready; nothing when it is."""
    try:
        with urllib.request.urlopen(f"http://{listener}/health/ready", timeout=PROBE_S) as answer:
            answer.read()
            return ""
    except urllib.error.HTTPError as answer:
        return answer.read().decode(errors="replace").strip().replace("\n", "; ") or str(answer)
    except OSError as error:
        return str(error)


def missing():
    """Why the cluster is not whole, by its own word and by the probes; an empty list when it is."""
    try:
        status = ctl("cluster", "status", timeout_s=10)
        found = ctl("explain", "cluster", timeout_s=10).get("findings", [])
    except Refused as why:
        return [f"no answer: {why}"]
    reasons = [finding["cause"] for finding in found]
    for what in ("without_leader", "under_replicated", "moving"):
        if status[f"partitions_{what}"]:
            reasons.append(f"{status[f'partitions_{what}']} partitions {what.replace('_', ' ')}")
    for listener in probes():
        text = probe(listener)
        if text:
            reasons.append(f"{listener}: {text}")
    return reasons


def wait_whole(limit_s=600):
    """Until missing() is empty twice in a row; dies with its reasons after the limit."""
    end = time.monotonic() + limit_s
    told, quiet = [], 0
    while quiet < 2:
        reasons = missing()
        quiet = 0 if reasons else quiet + 1
        if reasons and reasons != told:
            say("  waits: " + "; ".join(reasons)[:300])
            told = reasons
        if reasons and time.monotonic() > end:
            die(f"not whole after {limit_s:.0f} s: " + "; ".join(reasons))
        if quiet < 2:
            time.sleep(ASK_S)


def topics():
    return ask("topic", "list")["topics"]


class Progress:
    """Lines that say how much is done and how long the rest takes at the pace so far."""

    def __init__(self, total, unit):
        self.total = total
        self.unit = unit
        self.start = time.monotonic()
        self.told = -1

    def at(self, done):
        if done == self.told:
            return
        self.told = done
        passed = time.monotonic() - self.start
        left = f", about {passed / done * (self.total - done):.0f} s left" if 0 < done < self.total and passed > 1 else ""
        say(f"  {done} of {self.total} {self.unit}{left}")


def kafka():
    try:
        import confluent_kafka
    except ImportError:
        die("needs librdkafka's client for Python: apt install python3-confluent-kafka, or pip install confluent-kafka")
    return confluent_kafka
