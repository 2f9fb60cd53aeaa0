"""Hosts of one's own: a network namespace for each broker, joined by a bridge, and faults on the wires between them.

This process stays where it is and reaches every host over the bridge, so that a broker can be cut off from its peers and still be asked.
"""
import os
import random
import subprocess
import sys

DELAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delay.py")


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


class Namespaces:
    """Hosts 1 to count, 10.A.B.1 and so on; the bridge is 10.A.B.254."""

    def __init__(self, count):
        self.count = count
        self.id = f"{random.SystemRandom().randrange(1 << 16):04x}"
        self.net = f"10.{random.SystemRandom().randrange(64, 250)}.{random.SystemRandom().randrange(1, 250)}"
        self.bridge = f"bal{self.id}"
        self.delays = []
        try:
            run("ip", "link", "add", self.bridge, "type", "bridge")
            run("ip", "address", "add", f"{self.net}.254/24", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
            for number in range(1, count + 1):
                self.add(number)
        except (OSError, subprocess.TimeoutExpired):
            self.close()
            raise

    def name(self, number):
        return f"balsa-{self.id}-{number}"

    def host(self, number):
        return f"{self.net}.{number}"

    def command(self, number):
        """Words before a program that shall run on that host."""
        return ["ip", "netns", "exec", self.name(number)]

    def inside(self, number, *words):
        return run(*self.command(number), *words)

    def add(self, number):
        ours, theirs = f"bal{self.id}-{number}", f"tmp{self.id}-{number}"
        run("ip", "netns", "add", self.name(number))
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs)
        run("ip", "link", "set", theirs, "netns", self.name(number))
        run("ip", "link", "set", ours, "master", self.bridge, "up")
        self.inside(number, "ip", "link", "set", theirs, "name", "eth0")
        self.inside(number, "ip", "address", "add", f"{self.host(number)}/24", "dev", "eth0")
        self.inside(number, "ip", "link", "set", "eth0", "up")
        self.inside(number, "ip", "link", "set", "lo", "up")
        self.inside(number, "nft", "add table inet balsa; add chain inet balsa in { type filter hook input priority 0; }; "
                                   "add chain inet balsa out { type filter hook output priority 0; }")

    def pids(self, number):
        """Processes that run on that host."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name(number), check=False).stdout.split()]

    def others(self, number):
        return "{ " + ", ".join(self.host(n) for n in range(1, self.count + 1) if n != number) + " }"

    def cut(self, number, towards=True, back=True):
        """Nothing between this host and the other hosts any more; or only in one direction."""
        if back:
            self.inside(number, "nft", f"add rule inet balsa in ip saddr {self.others(number)} drop")
        if towards:
            self.inside(number, "nft", f"add rule inet balsa out ip daddr {self.others(number)} drop")

    def lose(self, number, percent):
        """So many of a hundred packets from other hosts never arrive."""
        self.inside(number, "nft", f"add rule inet balsa in ip saddr {self.others(number)} numgen random mod 100 < {percent} drop")

    def delay(self, number, ms):
        """What this host sends to other hosts is that much later."""
        names = [self.host(n) for n in range(1, self.count + 1) if n != number]
        process = subprocess.Popen([*self.command(number), sys.executable, DELAY, str(ms), *names], stdout=subprocess.PIPE)
        self.delays.append(process)
        if process.stdout.readline() != b"ready\n":
            raise OSError("delay.py did not start")

    def heal(self):
        for number in range(1, self.count + 1):
            self.inside(number, "nft", "flush chain inet balsa in; flush chain inet balsa out")
        for process in self.delays:
            process.terminate()
            process.wait(10)
        self.delays = []

    def close(self):
        for process in self.delays:
            process.kill()
            process.wait()
        for number in range(1, self.count + 1):
            run("ip", "netns", "delete", self.name(number), check=False)
            run("ip", "link", "delete", f"bal{self.id}-{number}", check=False)
        run("ip", "link", "delete", self.bridge, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def why_not():
    """Why there are no namespaces here; None: there are."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    try:
        with Namespaces(2) as net:
            net.lose(1, 10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no network namespaces here: {error}"
    return None
