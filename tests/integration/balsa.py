"""Real brokers for the integration tests: start, kill, stop, look at.

A test is a script tests/integration/test_<name>.py: it makes checks with check(), skips with skip(), and ends with
finish(). BALSAD names the binary (default: the release build); KEEP=1 keeps data directories of failing tests.
"""
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BALSAD = os.environ.get("BALSAD", os.path.join(ROOT, "build/release/balsad"))
SANITIZED = os.path.join(ROOT, "build/debug/balsad")    # is there when `make MODE=debug all` was run

_passed = 0
_failed = 0
_skipped = 0


def check(condition, what):
    """One claim. A failing one is printed; the script goes on."""
    global _passed, _failed
    if condition:
        _passed += 1
    else:
        _failed += 1
        print(f"  FAIL {what}", flush=True)
    return bool(condition)


def skip(what, why):
    global _skipped
    _skipped += 1
    print(f"  SKIP {what}: {why}", flush=True)


def counts():
    """(passed, failed, skipped) so far."""
    return _passed, _failed, _skipped


def finish():
    print(f"{_passed} passed, {_failed} failed, {_skipped} skipped")
    sys.exit(1 if _failed else 0)


def programs():
    """The broker, and the build with sanitizers when there is one: its clean stop says besides that nothing has leaked."""
    return [BALSAD] + ([SANITIZED] if SANITIZED != BALSAD and os.path.exists(SANITIZED) else [])


def have(program):
    return shutil.which(program) is not None


PORT_FIRST, PORT_RANGE, PORT_RANGES = 10000, 500, 44
_ports = set()
_range_of = {}      # process: the first of its ports, and the name that it holds for them


def first_port():
    """This process has five hundred ports of its own: whoever holds an abstract socket's name holds them, until it ends."""
    while os.getpid() not in _range_of:  # a forked child takes others than its parent
        for turn in range(PORT_RANGES):
            number = (os.getpid() + turn) % PORT_RANGES
            holder = socket.socket(socket.AF_UNIX)
            try:
                holder.bind(f"\0balsa-test-ports-{number}")
            except OSError:
                holder.close()
                continue
            _range_of[os.getpid()] = (PORT_FIRST + number * PORT_RANGE, holder)
            break
        else:
            time.sleep(0.1)
    return _range_of[os.getpid()][0]


def free_port():
    """A port below those that the kernel gives to outgoing connections, and of this process's own, so that nobody takes it while its broker
    is down. None twice, while there are others."""
    first = first_port()
    if len(_ports) > 400:
        _ports.clear()
    while True:
        port = random.randrange(first, first + PORT_RANGE)
        if port in _ports:
            continue
        _ports.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue


def wait_until(condition, timeout_s, step_s=0.01):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(step_s)
    return condition()


class Broker:
    """One balsad on a free port of 127.0.0.1, its data in a directory of its own."""

    def __init__(self, shards=1, data=None, settings=None, command=None, env=None, host="127.0.0.1"):
        self.host = host
        self.port = free_port()
        self.program = BALSAD
        self.owns_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="balsa-test-")
        self.shards = shards
        self.settings = dict(settings or {})
        self.command = command or []
        self.env = env
        self.process = None
        self.log_path = self.data + ".log"

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def args(self):
        settings = {
            "log.dirs": self.data,
            "listeners": f"PLAINTEXT://{self.address}",
            "balsa.shards": self.shards,
            **self.settings,
        }
        args = list(self.command) + [self.program]
        for key, value in settings.items():
            args += ["--set", f"{key}={value}"]
        return args

    def start(self, timeout_s=30, wait=True):
        log = open(self.log_path, "ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BALSA_")}
        environment.update(self.env or {})
        self.process = subprocess.Popen(self.args(), stdout=log, stderr=log, env=environment)
        log.close()
        if wait and not wait_until(self.accepts, timeout_s, 0.002):
            raise RuntimeError(f"broker does not accept connections after {timeout_s} s:\n{self.log_tail()}")
        return self

    def accepts(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"broker ended with code {self.process.returncode}:\n{self.log_tail()}")
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout_s=20):
        """A clean stop; returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_tail(self, lines=30):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError:
            return ""

    def remove(self):
        if self.is_running():
            self.kill()
        if self.owns_data and not (os.environ.get("KEEP") and _failed):
            shutil.rmtree(self.data, ignore_errors=True)
            if os.path.exists(self.log_path):
                os.unlink(self.log_path)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        code = self.process.poll()
        if code is not None and code not in (0, -signal.SIGKILL):
            check(False, f"the broker ended by itself with code {code}:\n{self.log_tail()}")
        self.remove()
