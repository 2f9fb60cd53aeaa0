"""franz-go's own integration tests of its client `kgo`, as they come with the module, against Balsa:

    build/venv/bin/python tests/integration/kgo_suite.py              against three brokers
    BROKERS=1 RECORDS=500000 build/venv/bin/python tests/integration/kgo_suite.py 'TestGroupETL'

What is left out, and why, is LEFT_OUT below; docs/COMPATIBILITY.md has the result. The tests come through the Go module proxy as part of the
module that the other tests use (clients/go), and nothing of them is changed.
"""
import json
import os
import re
import subprocess
import sys

import balsa
import cluster

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(balsa.ROOT, "build", "clients", "kgo.test")
PACKAGE = "github.com/twmb/franz-go/pkg/kgo"
GO = os.path.join(HERE, "clients", "go")
BROKERS = int(os.environ.get("BROKERS", "3"))
RECORDS = int(os.environ.get("RECORDS", "50000"))  # the suite's own number is 500,000
LIMIT_S = int(os.environ.get("LIMIT_S", "1200"))
TRANSACTIONS = "needs transactions"
SHARE = "needs share groups (KIP-932)"
NEXT_GROUPS = "needs KIP-848's consumer groups"
LEFT_OUT = {
    "TestTxnEtl": TRANSACTIONS,
    "TestShareGroup": SHARE,
    "TestShareGroupETL": SHARE,
    "TestShareGroupAckOnClose": SHARE,
    "TestShareGroupOffsetsAdmin": SHARE,
    "TestConsumeRegexShareSkipsInternal": SHARE,
    "Test848RegexBrokerResolves": NEXT_GROUPS,
    "TestConsumeRegex": "looks for the topic __consumer_offsets; committed offsets are in the metadata here",
    "TestSCRAMAuth": "needs SASL",
    "TestSCRAMAuthBadCredentials": "needs SASL",
}


def build():
    """Why it cannot be, or None."""
    if not balsa.have("go"):
        return "go is not installed"
    os.makedirs(os.path.dirname(BINARY), exist_ok=True)
    if not os.path.exists(BINARY):
        done = subprocess.run(["go", "test", "-c", "-o", BINARY, PACKAGE], cwd=GO, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            return f"the suite cannot be built: {done.stderr[-300:]}"
    return None


def source():
    """Where the suite's own files are: one test reads them."""
    done = subprocess.run(["go", "list", "-f", "{{.Dir}}", PACKAGE], cwd=GO, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.strip()


def run(seeds, factor, pattern, limit_s):
    """Every test's name and result; what was printed goes to a file."""
    environment = dict(os.environ, KGO_SEEDS=seeds, KGO_TEST_RF=str(factor), KGO_TEST_RECORDS=str(RECORDS), KGO_LOG_LEVEL="none")
    command = [BINARY, "-test.v", f"-test.timeout={limit_s}s", "-test.run", pattern, "-test.skip", "^(" + "|".join(LEFT_OUT) + ")$"]
    path = os.path.join(cluster.LOGS, "kgo.txt")
    os.makedirs(cluster.LOGS, exist_ok=True)
    with open(path, "w", encoding="utf-8") as log:
        code = subprocess.run(command, cwd=source(), env=environment, stdout=log, stderr=log, timeout=limit_s + 60, check=False).returncode
    with open(path, encoding="utf-8", errors="replace") as log:
        text = log.read()
    results = {name: result for result, name in re.findall(r"^--- (PASS|FAIL|SKIP): (\w+)", text, re.MULTILINE)}
    started = re.findall(r"^=== RUN +(\w+)$", text, re.MULTILINE)
    balsa.check(code == 0, f"the suite ends with code {code}: {path}")
    return {name: results.get(name, "NO END") for name in started}


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "."
    why = build()
    if why is not None:
        balsa.skip("kgo", why)
        balsa.finish()
    cluster.need("kgo")
    with cluster.Cluster(BROKERS, shards=2, settings={"auto.create.topics.enable": "true", "default.replication.factor": min(BROKERS, 3)}) as brokers:
        results = run(brokers.addresses, min(BROKERS, 3), pattern, LIMIT_S)
    for name, result in results.items():
        if result == "SKIP":
            balsa.skip(name, "skips itself")
        else:
            balsa.check(result == "PASS", f"{name}: {result}")
    for name, reason in LEFT_OUT.items():
        balsa.skip(name, reason)
    print(json.dumps(results, indent=1))
    balsa.finish()


if __name__ == "__main__":
    main()
