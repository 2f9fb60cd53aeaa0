"""A wire whose speed can be changed: a TCP proxy in front of one address, what goes towards it slowed down to a rate for each connection."""
import socket
import threading
import time

SLOW_SIZE = 1024


class Proxy:
    """Listens from now on; connects for each connection that it accepts."""

    def __init__(self, port, target):
        self.target = target
        self.rate = None  # bytes a second towards the target, of each connection; None: as fast as it goes
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for source, goal, is_slow in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.carry, args=(source, goal, is_slow), daemon=True).start()

    def carry(self, source, goal, is_slow):
        try:
            while data := source.recv(SLOW_SIZE if is_slow and self.rate else 1 << 16):
                goal.sendall(data)
                rate = self.rate
                if is_slow and rate:
                    time.sleep(len(data) / rate)
        except OSError:
            pass
        for end in (source, goal):  # the other direction's thread wakes up by it
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
