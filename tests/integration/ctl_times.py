"""How long commands of balsactl take against three brokers on this machine:  tests/integration/ctl_times.py [RUNS]

From the start of the process to its end, RUNS (50) times each, all commands in turn; the median and the slowest tenth. Promised are 20 ms
for each: exit status 1 when a median is above. As a clock is looked at, it is no test among the others.
"""
import os
import statistics
import subprocess
import sys
import time

import balsa
from test_admin_cluster import AdminCluster, produce

PROMISED_MS = 20
PARTITIONS = 100
BALSACTL = os.path.join(os.path.dirname(balsa.BALSAD), "balsactl")
COMMANDS = ("cluster status", "quorum status", "topic list", "topic describe orders", "topic create new-{} --partitions 1", "topic delete new-{}",
            "config describe orders", "config set orders retention.ms=8640000{}", "partition status orders 0", "partition status orders 0 --digest",
            "partition moves", "partition move orders 0 1,2,3 --dry-run", "group list", "explain cluster", "explain partition orders 0",
            "broker decommission 3 --dry-run", "log level all info")


def once(where, words):
    started = time.monotonic()
    done = subprocess.run([BALSACTL, "--admin", where, *words], capture_output=True, check=False)
    return 1000 * (time.monotonic() - started), done.returncode


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    times = {command: [] for command in COMMANDS}
    codes = {command: set() for command in COMMANDS}
    with AdminCluster(count=3, shards=2) as cluster:
        cluster.create("orders", PARTITIONS, 3)
        produce(cluster, "orders", 1000)
        for turn in range(runs):
            for command in COMMANDS:
                took, code = once(cluster.where(turn % 3 + 1), command.format(turn).split())
                times[command].append(took)
                codes[command].add(code)
    slow = 0
    print(f"{'ms: median':>12} {'slowest tenth':>14}  command, {runs} times")
    for command, found in times.items():
        median = statistics.median(found)
        slow += median > PROMISED_MS
        refused = "" if codes[command] == {0} else f"  (exit {sorted(codes[command])})"
        print(f"{median:12.1f} {sorted(found)[-1 - len(found) // 10]:14.1f}  {command}{refused}")
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
