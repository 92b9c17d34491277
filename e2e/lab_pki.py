"""Certificates with one fault each, made by openssl: the lab of test_tls_lab.py."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import pathlib
import subprocess

NAME = "hub.example"


@dataclasses.dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files."""
    chain: pathlib.Path
    key: pathlib.Path
    issuer: "Issued | None"

    @property
    def pem(self) -> str:
        return self.chain.read_text()


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}\n{done.stderr}"


def moment(days: float) -> str:
    """So many days from now, as `openssl ca` wants it."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


class Lab:
    """A root, and what is issued below it. Each certificate is made when first asked for."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    @functools.cache
    def key(self, name: str, kind: str) -> pathlib.Path:
        path = self.folder / f"{name}.key"
        how = {"rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
               "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
               "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]}[kind]
        openssl("genpkey", *how, "-out", path)
        return path

    @functools.cache
    def issue(self, name: str, issuer: Issued | None = None, *, key="rsa", names=(NAME,), start=-1.0, end=90.0, digest="sha256",
              usage="serverAuth", authority=False) -> Issued:
        """`start` and `end` in days from now. Without an issuer it signs itself."""
        own_key = self.key(name, key)
        extensions = ["subjectKeyIdentifier = hash"]
        if authority:
            extensions += ["basicConstraints = critical, CA:TRUE", "keyUsage = critical, keyCertSign, cRLSign"]
        else:
            extensions += ["basicConstraints = CA:FALSE", "keyUsage = critical, digitalSignature, keyEncipherment",
                           f"extendedKeyUsage = {usage}", "subjectAltName = " + ", ".join(f"DNS:{each}" for each in names)]
        work = self.folder / f"{name}.work"
        work.mkdir()
        (work / "index.txt").touch()
        (work / "openssl.cnf").write_text(f"""
[ca]
default_ca = this
[this]
database = {work}/index.txt
new_certs_dir = {work}
rand_serial = yes
policy = any
unique_subject = no
[any]
commonName = supplied
[request]
distinguished_name = nothing
[nothing]
[extensions]
{chr(10).join(extensions)}
""")
        openssl("req", "-new", "-key", own_key, "-subj", f"/CN=Lab {name}" if authority else f"/CN={NAME}", "-out", work / "request.pem",
                "-config", work / "openssl.cnf", "-section", "request")
        path = self.folder / f"{name}.pem"
        signer = ["-cert", issuer.chain, "-keyfile", issuer.key] if issuer else ["-selfsign", "-keyfile", own_key]
        openssl("ca", "-batch", "-notext", "-config", work / "openssl.cnf", "-extensions", "extensions", "-md", digest,
                "-startdate", moment(start), "-enddate", moment(end), "-in", work / "request.pem", "-out", path, *signer)
        return Issued(path, own_key, issuer)

    @property
    def root(self) -> Issued:
        return self.issue("root", authority=True, start=-4000, end=4000)

    @property
    def intermediate(self) -> Issued:
        return self.issue("intermediate", self.root, authority=True, start=-2000, end=2000)

    def leaf(self, name="leaf", issuer: Issued | None = None, **options) -> Issued:
        return self.issue(name, issuer or self.intermediate, **options)

    def write(self, name: str, *certificates: Issued) -> pathlib.Path:
        """A chain file with these certificates, in this order."""
        path = self.folder / f"{name}.chain.pem"
        path.write_text("".join(each.pem for each in certificates))
        return path
