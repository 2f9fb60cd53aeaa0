"""The admin service against gRPC of its own makers: health, reflection, statuses, deadlines, cancelled and parallel calls;
also of the build with sanitizers, when there is one."""
import socket

import admin
import balsa
from balsa import check, finish, skip


def health_and_reflection(where):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    with admin.grpc.insecure_channel(where) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        check(health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving, "the server is healthy")
        named = health_pb2.HealthCheckRequest(service=admin.SERVICE)
        check(health.Check(named, timeout=10).status == serving, "the service is healthy")
        unknown = health_pb2.HealthCheckRequest(service="x.Y")
        code, text = admin.refusal(health.Check, unknown, timeout=10)
        check(code == "NOT_FOUND" and "x.Y" in text, f"an unknown service is not found: {code} {text}")
        watch = health.Watch(unknown, timeout=10)
        check(next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, "an unknown service can be watched")
        watch.cancel()
        watch = health.Watch(named)
        check(next(watch).status == serving, "a watcher is told the state at once")
        return channel, watch


def statuses(where):
    with admin.Admin(where) as client:
        status = client.ClusterStatus()
        check(status.node_id == 1 and status.is_serving and len(status.brokers) == 1, f"cluster status: {status}")
        raw = client.channel.unary_unary(f"/{admin.SERVICE}/NoSuchMethod")
        check(admin.refusal(raw, b"", timeout=10)[0] == "UNIMPLEMENTED", "an unknown method is unimplemented")
        raw = client.channel.unary_unary(f"/{admin.SERVICE}/ClusterStatus")
        code, text = admin.refusal(raw, b"\xff\xff\xff", timeout=10)
        check(code == "INTERNAL" and "balsa.admin.v1" in text, f"what is no message is refused: {code} {text}")
        code, text = admin.refusal(raw, b"\0" * (5 << 20), timeout=10)
        check(code == "RESOURCE_EXHAUSTED" and "larger" in text, f"a message over the limit is refused: {code} {text}")
        raw = client.channel.unary_unary(f"/{admin.SERVICE}/ClusterStatus")
        code, text = admin.refusal(lambda: raw(b"x" * 100, timeout=10, compression=admin.grpc.Compression.Gzip))
        check(code == "UNIMPLEMENTED" and "compressed" in text, f"compression is refused: {code} {text}")


def parallel(where):
    with admin.Admin(where) as client:
        stub, request = client.method("ClusterStatus")
        calls = [stub.future(request(), timeout=admin.CALL_S) for _ in range(1000)]
        check(all(call.result().node_id == 1 for call in calls), "1,000 parallel calls are answered")
        calls = [stub.future(request(), timeout=admin.CALL_S) for _ in range(1000)]
        for call in calls[::2]:
            call.cancel()
        check(all(call.result().node_id == 1 for call in calls[1::2]), "cancelled calls do no harm to others")
        check(client.ClusterStatus().node_id == 1, "and the service goes on")


def strangers(where):
    host, port = where.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := plain.recv(4096):
            answer += piece
    check(answer.startswith(b"HTTP/1.1 505") and b"gRPC" in answer, f"HTTP/1 is told what is spoken here: {answer}")
    for garbage in (b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000):
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall(garbage)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):
                pass


def main():
    if admin.grpc is None:
        skip("gRPC of Python", admin.MISSING)
        finish()
    for program in balsa.programs():
        broker = balsa.Broker(settings=admin.settings())
        broker.program = program
        with broker:
            where = admin.address(broker)
            health_and_reflection(where)
            statuses(where)
            strangers(where)
            parallel(where)
            with admin.Admin(where) as client:
                services = admin.ProtoReflectionDescriptorDatabase(client.channel).get_services()
                check(admin.SERVICE in services and "grpc.health.v1.Health" in services, f"services are listed: {services}")
            check(broker.stop(60) == 0, f"the broker stops: {broker.log_tail()}")
    finish()


if __name__ == "__main__":
    main()
