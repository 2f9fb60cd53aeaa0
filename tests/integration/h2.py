"""HTTP/2 by hand, for what no client library sends: frames as they are written, and of the answers their types only."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_SIZE, FRAME_SIZE = 9, 16384


def frame(kind, flags=0, stream=0, payload=b"", size=None):
    """`size`: what the frame says of itself, when that is a lie."""
    size = len(payload) if size is None else size
    return struct.pack("!I", size)[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def text(value):
    """A string of HPACK, not compressed."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    left, out = len(value) - 127, b"\x7f"
    while left >= 128:
        out += bytes([left % 128 + 128])
        left //= 128
    return out + bytes([left]) + value


def header_block(fields):
    """Literal fields that are not indexed."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def call_fields(path, **more):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers", "content-type": "application/grpc"}
    fields.update({name.replace("_", "-"): value for name, value in more.items()})
    return [(name.encode(), value.encode()) for name, value in fields.items() if value is not None]


def message(payload=b"", compressed=0, size=None):
    return struct.pack("!BI", compressed, len(payload) if size is None else size) + payload


def call(stream, path, body=None, flags=END_STREAM, **more):
    """Frames of one call; body None: none follow."""
    block = header_block(call_fields(path, **more))
    pieces = [block[at:at + FRAME_SIZE] for at in range(0, len(block), FRAME_SIZE)]
    out = b"".join(frame(CONTINUATION if n else HEADERS, END_HEADERS if n + 1 == len(pieces) else 0, stream, piece) for n, piece in enumerate(pieces))
    return out if body is None else out + frame(DATA, flags, stream, body)


class Connection:
    """A connection that has sent its preface and settings."""

    def __init__(self, where, settings=b"", timeout_s=60):
        host, port = where.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.is_stuck = False   # nothing came for as long
        self.socket.sendall(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, data):
        """False: the other side has closed."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def frames(self):
        """(kind, flags, stream, payload) until the other side closes, or a frame is asked for no more."""
        data = b""
        while True:
            while len(data) < HEADER_SIZE or len(data) < HEADER_SIZE + int.from_bytes(data[:3], "big"):
                try:
                    piece = self.socket.recv(1 << 16)
                except ConnectionError:
                    return
                except TimeoutError:
                    self.is_stuck = True
                    return
                if not piece:
                    return
                data += piece
            end = HEADER_SIZE + int.from_bytes(data[:3], "big")
            kind, flags, stream = struct.unpack("!BBI", data[3:HEADER_SIZE])
            yield kind, flags, stream, data[HEADER_SIZE:end]
            data = data[end:]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
