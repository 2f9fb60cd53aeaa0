"""Makes what this network namespace sends to some hosts later:  delay.py MILLISECONDS ADDRESS...

Packets to them are routed into a tun device, wait here, and leave through a raw socket bound to eth0. Ends with SIGTERM; the kernel then
takes the device, and with it the routes, away.
"""
import collections
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
SO_BINDTODEVICE = 25
PACKET_MAX = 65536
QUEUE_MAX = 20000


def main():
    delay_s = float(sys.argv[1]) / 1000
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"delay", IFF_TUN_NO_PI))
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0\0")
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    source = subprocess.run(["ip", "-4", "-o", "address", "show", "dev", "eth0"], capture_output=True, text=True,
                            check=True).stdout.split()[3].split("/")[0]
    subprocess.run(["ip", "link", "set", "delay", "up", "mtu", "1500", "txqueuelen", "10000"], check=True)
    for address in sys.argv[2:]:
        subprocess.run(["ip", "route", "add", f"{address}/32", "dev", "delay", "src", source], check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("ready", flush=True)
    waiting = collections.deque()
    while True:
        timeout_s = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        readable, _, _ = select.select([tun], [], [], timeout_s)
        now = time.monotonic()
        if readable:
            for _ in range(64):
                try:
                    packet = os.read(tun, PACKET_MAX)
                except BlockingIOError:
                    break
                if packet[0] >> 4 == 4 and len(waiting) < QUEUE_MAX:
                    waiting.append((now + delay_s, packet))
        while waiting and waiting[0][0] <= now:
            packet = waiting.popleft()[1]
            try:
                out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            except OSError:
                pass  # as a wire may lose it


main()
