#!/usr/bin/env python3
"""Records what `openssl s_server` answers to ClientHellos, one file for each way to set it up.

    record.py FOLDER-WITH-KEYS PATH/TO/examples/client_hello

`chains/make.sh` calls it while the keys are there. Each line is `hello ending digits`, where ending is how the
answer ended within a second: closed, reset or silent.
"""

import pathlib
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
CHAINS = HERE.parent / "chains"
HELLOS = ["tasmota-esp8266", "tasmota-ecdsa", "idf-5-bundle", "idf-6", "ml307", "wide", "unnamed", "legacy", "tls13"]
LOW = ["-cipher", "ALL:@SECLEVEL=0"]

SERVERS = {
    "good": ("leaf", []),
    "ecdsa": ("p256", []),
    "tls13-only": ("leaf", ["-tls1_3"]),
    "tls11-only": ("leaf", ["-tls1_1", *LOW]),
    "aes256-only": ("leaf", ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"]),
    "static-rsa-only": ("leaf", ["-tls1_2", "-cipher", "AES256-GCM-SHA384"]),
    "x25519-only": ("leaf", ["-tls1_2", "-curves", "X25519"]),
    "client-certificate": ("leaf", ["-Verify", "1"]),
    "split": ("leaf", ["-max_send_frag", "512"]),
    "sni": ("alone", ["-servername", "hub.example"]),
}


def answer(port: int, hello: bytes) -> tuple[str, bytes]:
    got = b""
    with socket.create_connection(("127.0.0.1", port), 2) as sock:
        sock.sendall(hello)
        sock.settimeout(1)
        try:
            while more := sock.recv(65536):
                got += more
            return "closed", got
        except TimeoutError:
            return "silent", got
        except ConnectionResetError:
            return "reset", got


def main() -> None:
    keys, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    hellos = {name: bytes.fromhex(subprocess.check_output([program, name, "hub.example"], text=True)) for name in HELLOS}
    chain = keys / "chain.pem"
    chain.write_text((CHAINS / "intermediate.pem").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, (certificate, options) in SERVERS.items():
        both = ["-cert2", CHAINS / "leaf.pem", "-key2", keys / "leaf.key"] if name == "sni" else []
        server = subprocess.Popen(["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", CHAINS / f"{certificate}.pem",
                                   "-key", keys / f"{certificate}.key", "-cert_chain", chain, *both, *options],
                                  stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            lines = [f"# openssl s_server {' '.join(map(str, options))}".rstrip()]
            for hello, sent in hellos.items():
                how, got = answer(port, sent)
                lines.append(f"{hello} {how} {got.hex()}")
            (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")
        finally:
            server.terminate()
            server.wait()
        port += 1


main()
