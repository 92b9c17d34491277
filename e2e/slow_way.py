#!/usr/bin/env python3
"""A network of its own with a long way in it: packets to 10.9.0.2 take their time, and come out at 10.9.0.1.

    unshare --net e2e/slow_way.py 90       each packet takes 90 ms, so that an answer takes 180

A TUN device hands every packet to this program, which swaps its two addresses (so that all checksums stay right) and puts it back
later: who connects to 10.9.0.2 talks to a server on 10.9.0.1. Packets to 10.9.0.3 are lost. It says `ready`, and stays until its
standard input ends.
"""

import fcntl
import heapq
import os
import stat
import struct
import subprocess
import sys
import threading
import time

TUN = "/dev/net/tun"
HERE, FAR, LOST = "10.9.0.1", "10.9.0.2", "10.9.0.3"
# linux/if_tun.h
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def is_possible() -> bool:
    """Whether this machine lets us make a network device; not every container does."""
    try:
        os.close(opened())
        return True
    except OSError:
        return False


def opened() -> int:
    if os.geteuid() == 0 and not os.path.exists(TUN):
        # A container's /dev may lack it though the kernel has it.
        os.makedirs(os.path.dirname(TUN), exist_ok=True)
        os.mknod(TUN, stat.S_IFCHR | 0o600, os.makedev(10, 200))
    return os.open(TUN, os.O_RDWR)


def carry(tun: int, delay: float):
    """Takes packets in, and puts them back in their order when their time has come."""
    on_the_way, new = [], threading.Condition()

    def deliver():
        while True:
            with new:
                while not on_the_way or (wait := on_the_way[0][0] - time.monotonic()) > 0:
                    new.wait(wait if on_the_way else None)
                _, _, packet = heapq.heappop(on_the_way)
            os.write(tun, packet)

    threading.Thread(target=deliver, daemon=True).start()
    number = 0
    while True:
        packet = os.read(tun, 65536)
        source, target = packet[12:16], packet[16:20]
        if packet[0] >> 4 != 4 or ".".join(map(str, target)) == LOST:
            continue
        number += 1
        with new:
            heapq.heappush(on_the_way, (time.monotonic() + delay, number, packet[:12] + target + source + packet[20:]))
            new.notify()


def main():
    delay = float(sys.argv[1]) / 1000
    tun = opened()
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"far", IFF_TUN | IFF_NO_PI))
    for command in ("link set lo up", f"addr add {HERE}/24 dev far", "link set far up"):
        subprocess.run(["ip", *command.split()], check=True)
    threading.Thread(target=carry, args=(tun, delay), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
