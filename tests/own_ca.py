"""Certificates for tests: an authority of their own, and pairs for addresses of this machine."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Pair"]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """An authority in a folder; `file` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' authority")])
        made = self._builder(self._name, self._key)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(_usage(signs=True), critical=True)
        ours = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._cert = made.add_extension(ours, critical=False).sign(self._key, hashes.SHA256())
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def trusted(self) -> ssl.SSLContext:
        """What a client uses that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))

    def pair(self, *addresses: str, name: str = "server", days: float = 1) -> Pair:
        """A pair for addresses that ends in so many days; again with the same name replaces its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in addresses])
        made = self._builder(subject, key, days).add_extension(names, critical=False)
        made = made.add_extension(_usage(signs=False), critical=True)
        theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        cert = made.add_extension(theirs, critical=False).sign(self._key, hashes.SHA256())
        files = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        files.key.touch(0o600)
        plain = serialization.PrivateFormat.PKCS8
        files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, plain, serialization.NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 1) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - timedelta(days=30)).not_valid_after(now + timedelta(days=days, minutes=5))


def _usage(*, signs: bool) -> x509.KeyUsage:
    off = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs, crl_sign=signs, decipher_only=False, **off)
