"""The admin service against what no gRPC library sends: frames that HTTP/2 forbids, floods, calls that are cut, clients that take nothing. Each
connection ends, or its one call, as HTTP/2 and gRPC say; others go on; memory stays within its bounds. By the build with sanitizers when there
is one, where a clean stop also says that nothing has leaked."""
import socket
import struct

import admin
import balsa
import h2
from balsa import check, finish, skip

STATUS = f"/{admin.SERVICE}/ClusterStatus"
WATCH = f"/{admin.SERVICE}/Watch"
GROWTH_KIB_MAX = 200 << 10      # limits.h GRPC_MEMORY_MAX, and what allocators and sanitizers keep
GOOD = h2.call(1, STATUS, h2.message())

# What ends the connection: HTTP/2 calls each a connection error (RFC 9113).
CONNECTION_ERRORS = {
    "data of no stream": h2.frame(h2.DATA, h2.END_STREAM, 0, b"x"),
    "data of a stream that was never opened": h2.frame(h2.DATA, h2.END_STREAM, 7, b"x"),
    "headers of no stream": h2.frame(h2.HEADERS, h2.END_HEADERS, 0, h2.header_block(h2.call_fields(STATUS))),
    "headers of a server's stream": h2.frame(h2.HEADERS, h2.END_HEADERS, 2, h2.header_block(h2.call_fields(STATUS))),
    "a frame over the size that was offered": h2.frame(h2.DATA, 0, 1, b"x" * 20000),
    "a frame that says 16 MiB": h2.frame(h2.DATA, 0, 1, b"x" * 100, size=(1 << 24) - 1),
    "headers that do not unpack": h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" * 50),
    "an index behind the header table": h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xbf"),
    "settings of half a field": h2.frame(h2.SETTINGS, payload=b"\0\1\0"),
    "settings of a stream": h2.frame(h2.SETTINGS, stream=1),
    "a window of over 2^31": h2.frame(h2.WINDOW_UPDATE, payload=struct.pack("!I", 0x7FFFFFFF)),
    "a window update of nothing": h2.frame(h2.WINDOW_UPDATE, payload=struct.pack("!I", 0)),
    "a ping of seven bytes": h2.frame(h2.PING, payload=b"1234567"),
    "a continuation of nothing": h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b""),
    "headers that another frame interrupts": h2.frame(h2.HEADERS, 0, 1, h2.header_block(h2.call_fields(STATUS))) + h2.frame(h2.PING, payload=b"12345678"),
    "a push from a client": h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, struct.pack("!I", 2)),
    "padding longer than its frame": h2.frame(h2.DATA, 8, 1, b"\xff" + b"x" * 10),
}
# What ends one call: the next one of the same connection is answered.
CALL_ERRORS = {
    "no path": h2.call(1, None, h2.message()),
    "no method": h2.call(1, STATUS, h2.message(), **{":method": None}),
    "GET": h2.call(1, STATUS, h2.message(), **{":method": "GET"}),
    "no content type": h2.call(1, STATUS, h2.message(), content_type=None),
    "a name in upper case": h2.call(1, STATUS, h2.message(), **{"X-Y": "z"}),
    "a connection header": h2.call(1, STATUS, h2.message(), connection="close"),
    "a deadline that is none": h2.call(1, STATUS, h2.message(), grpc_timeout="soon"),
    "a deadline of nothing": h2.call(1, STATUS, h2.message(), grpc_timeout="0n"),
    "no message": h2.call(1, STATUS, b""),
    "half a message": h2.call(1, STATUS, h2.message(b"x" * 10, size=20)),
    "half a prefix": h2.call(1, STATUS, b"\0\0"),
    "two messages": h2.call(1, STATUS, h2.message() + h2.message()),
    "a message that says 4 GiB": h2.call(1, STATUS, h2.message(size=0xFFFFFFFF)),
    "a message that is none": h2.call(1, STATUS, h2.message(b"\xff" * 30)),
    "a compressed flag of its own": h2.call(1, STATUS, h2.message(b"x", compressed=7)),
    "a reset in the middle": h2.call(1, STATUS, h2.message(b"x" * 10, size=20), flags=0) + h2.frame(h2.RST_STREAM, 0, 1, struct.pack("!I", 8)),
    "headers over the limit": h2.call(1, STATUS, h2.message(), long="x" * 16000, longer="y" * 300),
}


def healthy(where, what):
    with admin.Admin(where) as client:
        check(client.ClusterStatus().is_serving, f"{what}: others are served")


def connection_errors(where):
    for what, data in CONNECTION_ERRORS.items():
        with h2.Connection(where) as peer:
            peer.send((b"" if data[3] == h2.HEADERS or "never" in what else h2.call(1, STATUS)) + data)
            kinds = [kind for kind, _, _, _ in peer.frames()]  # until it closes
            check(h2.GOAWAY in kinds and not peer.is_stuck, f"{what}: told to go away, and closed: {kinds}")


def call_errors(where):
    for what, data in CALL_ERRORS.items():
        with h2.Connection(where) as peer:
            peer.send(data + h2.call(3, STATUS, h2.message()))
            ends = {}
            for kind, flags, stream, _ in peer.frames():
                if kind == h2.RST_STREAM or kind in (h2.HEADERS, h2.DATA) and flags & h2.END_STREAM:
                    ends.setdefault(stream, kind)
                if kind == h2.GOAWAY or 3 in ends:
                    break
            check(ends.get(3) == h2.HEADERS and (1 in ends or "reset" in what), f"{what}: ends that call, not the next one: {ends}")


def flood(where, what, pieces):
    """Until the other side has had enough, or all is sent; it is read then, until it closes or the last call is answered."""
    with h2.Connection(where, timeout_s=20) as peer:
        peer.socket.setblocking(False)
        sent = 0
        for piece in pieces:
            try:
                if peer.socket.send(piece) < len(piece):
                    break   # it does not read on before it is read: that is a bound, too
                sent += 1
            except OSError:
                break
    healthy(where, f"{what}, {sent} times")


def floods(where):
    flood(where, "pings", (h2.frame(h2.PING, payload=b"12345678") * 100 for _ in range(2000)))
    flood(where, "settings", (h2.frame(h2.SETTINGS) * 100 for _ in range(2000)))
    flood(where, "calls that are reset at once", (b"".join(h2.call(n, STATUS) + h2.frame(h2.RST_STREAM, 0, n, struct.pack("!I", 8))
                                                             for n in range(1 + 200 * i, 201 + 200 * i, 2)) for i in range(300)))
    flood(where, "calls that never end", (b"".join(h2.call(n, STATUS) for n in range(1 + 200 * i, 201 + 200 * i, 2)) for i in range(100)))
    flood(where, "headers without end", [h2.frame(h2.HEADERS, 0, 1, h2.header_block(h2.call_fields(STATUS)))] + [
        h2.frame(h2.CONTINUATION, 0, 1, h2.header_block([(b"x%d" % n, b"y" * 1000) for n in range(10)]))] * 2000)
    flood(where, "empty data", [h2.call(1, STATUS)] + [h2.frame(h2.DATA, 0, 1) * 100] * 2000)
    flood(where, "priorities", (h2.frame(h2.PRIORITY, 0, n, struct.pack("!IB", 0, 1)) * 10 for n in range(1, 40001, 2)))


def cut(where):
    """Connections that end at every byte of a good call: by FIN, and by RST."""
    whole = h2.PREFACE + h2.frame(h2.SETTINGS) + GOOD
    host, port = where.rsplit(":", 1)
    for end in range(0, len(whole), 3):
        for is_reset in (False, True):
            with socket.create_connection((host, int(port)), timeout=20) as plain:
                plain.sendall(whole[:end])
                if is_reset:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    healthy(where, "cut calls")


def takes_nothing(where):
    """Windows of nothing, and watches that nobody reads: what they are to be told waits within its bounds, and goes with the connection."""
    peers = [h2.Connection(where, settings=struct.pack("!HI", 4, 0)) for _ in range(20)]
    for peer in peers:
        peer.send(b"".join(h2.call(n, STATUS, h2.message()) for n in range(1, 401, 2)) + h2.call(401, WATCH, h2.message()))
    with admin.Admin(where) as client:
        for n in range(20):
            client.CreateTopic(name=f"watched-{n}", partitions=1)
            client.DeleteTopic(name=f"watched-{n}")
    healthy(where, "clients that take nothing")
    for peer in peers:
        peer.close()
    healthy(where, "clients that are gone")


def main():
    if admin.grpc is None:
        skip("gRPC of Python", admin.MISSING)
        finish()
    broker = balsa.Broker(settings=admin.settings())
    broker.program = balsa.programs()[-1]
    with broker:
        where = admin.address(broker)
        healthy(where, "at first")
        before = broker.resident_kib()
        connection_errors(where)
        call_errors(where)
        floods(where)
        cut(where)
        takes_nothing(where)
        grown = broker.resident_kib() - before
        check(grown < GROWTH_KIB_MAX, f"memory is bounded: {grown} KiB more")
        check(broker.stop(60) == 0, f"a clean stop: {broker.log_tail()}")
    finish()


if __name__ == "__main__":
    main()
