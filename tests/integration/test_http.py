"""Metrics and probes over HTTP: Prometheus's own linter, rows that follow the log, readiness through a broker's death and return, and clients
that do not behave."""
import http.client
import os
import re
import socket
import struct
import subprocess
import time

import balsa
import cluster
import wire

BALSACTL = os.path.join(os.path.dirname(balsa.BALSAD), "balsactl")
BAD = r"_(refused|retried|retries|dropped|errors|lost|lines_lost|killed|failed|idle|expired|in_doubt|rejected|put_off|delayed|waits|pauses|stalls|left|damaged|unreadable)_total$"
CREATE_TOPICS, JOIN_GROUP = 19, 11
PROMTOOL = os.path.join(balsa.ROOT, "scripts", "lib", "promtool")


def get(port, path, method="GET", timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.getheaders())
    finally:
        connection.close()


def status(port, path):
    """The status, or None while nobody answers."""
    try:
        return get(port, path)[0]
    except OSError:
        return None


def value(port, series):
    found = re.search(r"^" + re.escape(series) + r" (\S+)$", get(port, "/metrics")[1], re.M)
    return float(found.group(1)) if found else None


def produce(address, topic, count):
    lines = "\n".join(f"record-{n}" for n in range(count))
    return subprocess.run(["kcat", "-P", "-b", address, "-t", topic, "-p", "0"], input=lines.encode(), timeout=60, check=False).returncode == 0


def prometheus_accepts(text):
    tool = subprocess.run([PROMTOOL], capture_output=True, text=True, check=False)
    if tool.returncode != 0:
        balsa.skip("promtool check metrics", "promtool cannot be had")
        return
    out = subprocess.run([tool.stdout.strip(), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    balsa.check(out.returncode == 0, f"promtool check metrics: {out.stdout}{out.stderr}")


def documented(text):
    """Every metric of the page has a line in docs/METRICS.md, and that is what the program prints."""
    with open(os.path.join(balsa.ROOT, "docs", "METRICS.md"), encoding="utf-8") as page:
        document = page.read()
    printed = subprocess.run([balsa.BALSAD, "--help=metrics"], capture_output=True, text=True, check=False).stdout
    balsa.check(printed == document, "docs/METRICS.md is what --help=metrics prints")
    for name in re.findall(r"^# TYPE (\S+)", text, re.M):
        balsa.check(f"| `{name}` |" in document, f"{name} is documented")
    with open(os.path.join(balsa.ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as page:
        told = set(re.findall(r"`(balsa_\w+)`", page.read()))
    counters = set(re.findall(r"^\| `(balsa_\w+)` \| counter", document, re.M))
    bad = {name for name in counters if re.search(BAD, name)}
    balsa.check(bad <= told, f"docs/OPERATIONS.md says where to look for {bad - told}")
    gone = {name for name in told if f"| `{name}` |" not in document}
    balsa.check(not gone, f"docs/OPERATIONS.md names what there is, not {gone}")


def one_broker():
    port = balsa.free_port()
    with balsa.Broker(shards=2, settings={"balsa.http.listener": f"127.0.0.1:{port}"}) as broker:
        balsa.check(balsa.wait_until(lambda: status(port, "/health/ready") == 200, 20, 0.05), "a broker of its own is ready")
        balsa.check(status(port, "/health/live") == 200, "and live")
        balsa.check(produce(broker.address, "orders", 100), "produce")
        row = 'balsa_partition_high_watermark{topic="orders",partition="0"}'
        balsa.check(balsa.wait_until(lambda: value(port, row) == 100, 20, 0.1), f"{row} is 100: {value(port, row)}")
        code, text, headers = get(port, "/metrics")
        balsa.check(code == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), f"the page: {code} {headers}")
        balsa.check(value(port, "balsa_produce_records_total") == 100, "records are counted")
        balsa.check(0 < value(port, "balsa_wal_sync_seconds_sum") < 1000, "times are seconds")
        for name in ("balsa_commit_seconds", "balsa_apply_seconds"):
            balsa.check(value(port, name + "_count") >= 1 and 0 < value(port, name + "_sum") < 1000, f"{name} is observed")
        prometheus_accepts(text)
        documented(text)
        code, text, _ = get(port, "/metrics", "HEAD")
        balsa.check(code == 200 and text == "", "HEAD")
        balsa.check(get(port, "/nowhere")[0] == 404, "unknown page: 404")
        balsa.check(get(port, "/metrics", "POST")[0] == 405, "POST: 405")
        balsa.check(get(port, "/" + "x" * 100000)[0] in (404, 414, 431), "a long path is refused")
        misbehave(port, broker)
        balsa.check(broker.stop() == 0, "a clean stop with the listener open")


def errors(port):
    """{(api or method, error or code): count} of both families."""
    found = re.findall(r'^balsa_(?:grpc_)?errors_total\{\w+="([^"]+)",\w+="([^"]+)"\} (\d+)$', get(port, "/metrics")[1], re.M)
    return {(what, code): int(count) for what, code, count in found}


def refuse(broker, times):
    """Asks for what is refused: of the controller, of a coordinator on another shard, of partitions, of the admin service."""
    with wire.Client(broker.port) as client:
        for _ in range(times):
            topics = struct.pack(">i", 2) + wire.text("no/name") + struct.pack(">ihii", 1, 1, 0, 0) + wire.text("good") + struct.pack(">ihii", 1, 9, 0, 0)
            client.call(wire.frame(CREATE_TOPICS, 0, topics + struct.pack(">i", 10000)))
            client.call(wire.frame(JOIN_GROUP, 1, wire.text("readers") + struct.pack(">ii", 1, 1) + wire.text("") + wire.text("consumer") +
                                   struct.pack(">i", 1) + wire.text("range") + struct.pack(">i", 0)))
            balsa.check(client.produce("nowhere", 0, wire.batch([b"x"]))[0] == 3, "produce to an unknown topic is refused")
            balsa.check(client.fetch("nowhere", 0, 0)[0] == 3, "and so is fetch")
    for _ in range(times):  # nothing is answered, the connection is closed
        with wire.Client(broker.port) as client:
            client.socket.sendall(wire.produce("nowhere", 0, wire.batch([b"x"]), 0))
            balsa.check(client.socket.recv(1) == b"", "a produce without an answer that fails closes its connection")
        subprocess.run([BALSACTL, "--admin", broker.settings["balsa.admin.listeners"], "topic", "describe", "nowhere"], capture_output=True,
                       timeout=60, check=False)


def refusals():
    """Every refusal is on the page with its API, or method, and its cause, as often as it was answered."""
    port, admin = balsa.free_port(), f"127.0.0.1:{balsa.free_port()}"
    settings = {"balsa.http.listener": f"127.0.0.1:{port}", "balsa.admin.listeners": admin, "auto.create.topics.enable": "false"}
    with balsa.Broker(shards=2, settings=settings) as broker:
        balsa.check(balsa.wait_until(lambda: status(port, "/health/ready") == 200, 20, 0.05), "the broker is ready")
        before = errors(port)
        refuse(broker, 3)
        after = errors(port)
        counts = {pair: count - before.get(pair, 0) for pair, count in after.items() if count != before.get(pair, 0)}
        wanted = {("CreateTopics", "INVALID_TOPIC_EXCEPTION"): 3, ("CreateTopics", "INVALID_REPLICATION_FACTOR"): 3,
                  ("JoinGroup", "INVALID_SESSION_TIMEOUT"): 3, ("Produce", "UNKNOWN_TOPIC_OR_PARTITION"): 6,
                  ("Fetch", "UNKNOWN_TOPIC_OR_PARTITION"): 3, ("balsa.admin.v1.Admin/DescribeTopic", "NOT_FOUND"): 3}
        balsa.check(counts == wanted, f"each refusal is counted: {counts}")
        prometheus_accepts(get(port, "/metrics")[1])
        balsa.check(broker.stop() == 0, "a clean stop")


def misbehave(port, broker):
    """200 connections that say nothing, and one that never reads: others are answered again when these have idled away."""
    before = broker.resident_kib()
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    idle[0].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    balsa.check(broker.resident_kib() - before < 16 * 1024, "silent connections cost little")
    balsa.check(balsa.wait_until(lambda: status(port, "/health/live") == 200, 60, 0.5), "others are answered after the idle time")
    for connection in idle:
        connection.close()


def address_taken():
    """Also by the build with sanitizers, when there is one: nothing is lost on the way."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for program in balsa.programs():
            broker = balsa.Broker(settings={"balsa.http.listener": f"127.0.0.1:{taken.getsockname()[1]}"})
            broker.program = program
            broker.start(wait=False)
            code, told = broker.process.wait(60), broker.log_tail()
            balsa.check(code == 1 and "balsa.http.listener" in told and "Sanitizer" not in told, f"a taken address is named: {code} {told}")
            broker.remove()


def three_brokers():
    """A broker that comes back is not ready before its replicas are level; others stay ready while it is away."""
    ports = {n: balsa.free_port() for n in (1, 2, 3)}
    brokers = cluster.Cluster(3)
    for number, node in brokers.nodes.items():
        node.env = {"BALSA_HTTP_LISTENER": f"127.0.0.1:{ports[number]}"}
    with brokers:
        for number in ports:
            balsa.check(balsa.wait_until(lambda n=number: status(ports[n], "/health/ready") == 200, 30, 0.1), f"broker {number} is ready")
        balsa.check(produce(brokers.addresses, "shared", 1000), "produce")
        brokers[3].kill()
        balsa.check(balsa.wait_until(lambda: sum(value(ports[n], "balsa_partitions_under_replicated") for n in (1, 2)) >= 1, 30, 0.2),
                    "the loss is seen on the others' pages")
        balsa.check(all(balsa.wait_until(lambda n=n: status(ports[n], "/health/ready") == 200, 30, 0.1) for n in (1, 2)), "they are ready all the same")
        for name in ("balsa_peer_links_lost_total", "balsa_peer_connect_errors_total"):
            balsa.check(balsa.wait_until(lambda n=name: value(ports[1], n) > 0 and value(ports[2], n) > 0, 30, 0.2), f"it counts in {name}")
        balsa.check(produce(brokers.addresses, "shared", 1000), "produce without it")
        brokers[3].start()
        balsa.check(balsa.wait_until(lambda: status(ports[3], "/health/ready") == 200, 60, 0.05), "it is ready again")
        row = 'balsa_partition_high_watermark{topic="shared",partition="0"}'
        balsa.check(balsa.wait_until(lambda: value(ports[3], row) == 2000, 20, 0.1), "and has all of the log")
        balsa.check(brokers[3].stop() == 0, "a clean stop")


def slow_requests():
    """Followers that stand still make a produce slow, and the leader's log says where the time went; what a consumer asked to wait is not slow."""
    ports = {n: balsa.free_port() for n in (1, 2, 3)}
    brokers = cluster.Cluster(3, settings={"balsa.slow.request.ms": 500})
    for number, node in brokers.nodes.items():
        node.env = {"BALSA_HTTP_LISTENER": f"127.0.0.1:{ports[number]}"}
    with brokers:
        brokers.create("orders", 1, 3)
        leader = brokers.leader_of("orders", 0)
        others = [number for number in ports if number != leader]
        with subprocess.Popen(["kcat", "-C", "-b", brokers[leader].address, "-t", "orders", "-p", "0", "-X", "fetch.wait.max.ms=1500", "-c", "1"],
                              stdout=subprocess.DEVNULL) as consumer, \
                subprocess.Popen(["kcat", "-P", "-b", brokers[leader].address, "-t", "orders", "-p", "0", "-X", "client.id=teller"],
                                 stdin=subprocess.PIPE) as producer:
            time.sleep(4)  # the consumer has waited two times
            for number in others:
                brokers.pause(number)
            producer.stdin.write(b"one\n")
            producer.stdin.close()
            time.sleep(1.2)
            for number in others:
                brokers.resume(number)
            balsa.check(producer.wait(60) == 0 and consumer.wait(60) == 0, "the record goes through")
        told = balsa.wait_until(lambda: re.findall(r'event="slow request" api=Produce client=teller us=(\d+) .*', brokers[leader].log_tail(200)), 20, 0.1)
        balsa.check(told and int(told[0]) > 500000, f"a slow produce has a line: {brokers[leader].log_tail()}")
        stages = re.findall(r"queued_us=(\d+) propose_us=(\d+) commit_us=(\d+) answer_us=(\d+) send_us=(\d+)", brokers[leader].log_tail(200))
        balsa.check(stages and max(map(int, stages[0])) == int(stages[0][2]), f"it was the commit: {stages}")
        polls = re.findall(r"api=Fetch client=\S+ us=(\d+) .* wanted_us=(\d+)", brokers[leader].log_tail(200))
        balsa.check(all(int(took) - int(wanted) > 500000 for took, wanted in polls), f"long polls are not slow: {polls}")
        balsa.check(value(ports[leader], "balsa_requests_slow_total") >= 1, "slow requests are counted")


def main():
    if not balsa.have("kcat"):
        balsa.skip("http", "kcat is not installed")
        balsa.finish()
    one_broker()
    refusals()
    address_taken()
    three_brokers()
    slow_requests()
    balsa.finish()


main()
