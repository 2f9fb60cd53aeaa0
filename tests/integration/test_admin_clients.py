"""The admin service and gRPC clients not written here: the official libraries of Go and JavaScript (clients/grpc), and grpcurl.

Go makes its messages from what reflection tells, JavaScript from the .proto files, grpcurl from either. Python's library is in
test_admin_grpc.py.
"""
import json
import os
import re
import subprocess
import sys
import urllib.request

import admin
import balsa
from balsa import check, finish, skip

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients"))
import prepare  # noqa: E402

LIMIT_S = 180
PROTO = os.path.join(balsa.ROOT, "proto")
METHOD = admin.SERVICE + "/"


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def library(name, command, where):
    """Its program tells one claim a line."""
    out = run([*command, where, f"topic-of-{name}"])
    claims = [line for line in out.stdout.splitlines() if line.startswith(("ok ", "FAIL "))]
    for line in claims:
        check(line.startswith("ok "), f"{name}: {line[5:]}")
    check(out.returncode == 0 and len(claims) > 10, f"{name}: exit {out.returncode}, {len(claims)} claims: {out.stdout[-1000:]}{out.stderr[-1000:]}")


class Grpcurl:
    def __init__(self, command, where):
        self.command = [*command, "-plaintext", "-max-time", str(LIMIT_S)]
        self.where = where

    def __call__(self, *verb, options=(), data=None):
        """Exit code and text; the code of a refused call is 64 and its gRPC status."""
        given = ["-d", json.dumps(data)] if data is not None else []
        out = run([*self.command, *options, *given, self.where, *verb])
        return out.returncode, out.stdout + out.stderr


def grpcurl(command, where):
    curl = Grpcurl(command, where)
    code, text = curl("list")
    check(code == 0 and {admin.SERVICE, "grpc.health.v1.Health"} <= set(text.split()), f"services are listed: {text}")
    code, text = curl("list", admin.SERVICE)
    check(code == 0 and METHOD.replace("/", ".CreateTopic") in text.split(), f"methods are listed: {text}")
    code, text = curl("describe", admin.SERVICE)
    check(code == 0 and "rpc Watch ( .balsa.admin.v1.WatchRequest ) returns ( stream .balsa.admin.v1.Event )" in text, f"a service is described: {text}")
    code, text = curl("describe", "balsa.admin.v1.CreateTopicRequest")
    check(code == 0 and "int32 replication_factor = 3;" in text, f"a message is described: {text}")
    code, text = curl("describe", "x.Y")
    check(code != 0 and "x.Y" in text, f"what is not there is said to be so: {code} {text}")
    code, text = curl(METHOD + "CreateTopic", data={"name": "curled", "partitions": 2})
    check(code == 0 and json.loads(text)["topic"]["partitions"] == 2, f"a topic is made: {text}")
    code, text = curl(METHOD + "CreateTopic", data={"name": "curled"})
    check(code == 64 + 6 and "AlreadyExists" in text and "curled" in text, f"twice is refused: {code} {text}")
    code, text = curl(METHOD + "DescribeTopic", options=("-import-path", PROTO, "-proto", "admin.proto"), data={"name": "curled"})
    check(code == 0 and len(json.loads(text)["partitions"]) == 2, f"the same by the .proto file: {text}")
    code, text = curl("grpc.health.v1.Health/Check", data={"service": admin.SERVICE})
    check(code == 0 and json.loads(text)["status"] == "SERVING", f"the service is healthy: {text}")
    code, text = curl(METHOD + "Watch", options=("-max-time", "1"))
    check(code == 64 + 4 and '"BEGUN"' in text and "DeadlineExceeded" in text, f"a watch streams until its deadline: {code} {text}")
    code, text = curl(METHOD + "NoSuchMethod", options=("-import-path", PROTO, "-proto", "admin.proto"))
    check(code != 0 and "NoSuchMethod" in text, f"no such method: {code} {text}")
    code, text = curl(METHOD + "DeleteTopic", data={"name": "curled"})
    check(code == 0, f"a topic is deleted: {code} {text}")


def main():
    ready, missing = prepare.commands(prepare.GRPC_MAKERS, prepare.GRPC_MAKERS)
    for name, why in missing.items():
        skip(name, why)
    http = f"127.0.0.1:{balsa.free_port()}"
    with balsa.Broker(settings={**admin.settings(), "balsa.http.listener": http}, shards=2) as broker:
        for name, command in ready.items():
            (grpcurl(command, admin.address(broker)) if name == "grpcurl" else library(name, command, admin.address(broker)))
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=30) as page:
            refused = re.search(r'^balsa_grpc_errors_total\{method="none",code="UNIMPLEMENTED"\} (\d+)$', page.read().decode(), re.M)
        check(not ready or (refused and int(refused.group(1)) > 0), "refused calls are counted")
        check(broker.stop() == 0, "the broker stops")
    finish()


if __name__ == "__main__":
    main()
