"""A certification authority of a deployment's own, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UsageError
from ._files import private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_AUTHORITY_DAYS, _DAYS = 3650, 825
_RENEWED = 60  # days before its end
_AUTHORITY = "authority of this panorama deployment"


class Authority(NamedTuple):
    """Who signs: the certificate that others are told to trust, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority(folder: Path) -> Authority:
    """The authority of a folder, `ca.pem` and `ca.key`; made where it is missing.

    Raises
    ------
    UsageError
        One of its files is there without the other.
    """
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        _make_authority(certificate, key)
    try:
        return Authority(_certificate(certificate), _key(key))
    except (OSError, ValueError) as problem:
        raise UsageError(
            f"{folder}: {problem}; ca.pem and ca.key belong together: bring back what is missing, or remove both, and "
            "every client has to be told the new ca.pem"
        ) from None


def issue(by: Authority, certificate: Path, key: Path, name: str, hosts: Sequence[str]) -> bool:
    """Have a certificate for these hosts (names and addresses), its chain and a PKCS 8 key; whether it is a new one.

    The one that is there stays, if it is for the same hosts, by the same authority, and good for 60 days more.
    """
    if certificate.exists() and key.exists() and _good(_certificate(certificate), by, hosts):
        return False
    from cryptography.hazmat.primitives.asymmetric import ec

    own = ec.generate_private_key(ec.SECP256R1())
    signed = _signed(by, own, name, hosts)
    private(key, _pem_key(own))
    private(certificate, _pem(signed) + _pem(by.certificate))
    return True


def _make_authority(certificate: Path, key: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    own = ec.generate_private_key(ec.SECP256R1())
    signed = _signed(None, own, _AUTHORITY, ())
    private(key, _pem_key(own))
    private(certificate, _pem(signed))


def _signed(by: Authority | None, own: ec.EllipticCurvePrivateKey, name: str, hosts: Sequence[str]) -> x509.Certificate:
    """A certificate (RFC 5280): of an authority where nobody signs it, else of a server that is a client too."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    subject = _called(name)
    issuer = by.certificate.subject if by else subject
    signer = by.key if by else own
    days = _DAYS if by else _AUTHORITY_DAYS
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=0 if by is None else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(signs=by is None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    if by is not None:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _called(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _good(there: x509.Certificate, by: Authority, hosts: Sequence[str]) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        there.verify_directly_issued_by(by.certificate)
        named = list(there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_RENEWED)
    return there.not_valid_after_utc > soon and named == [_host(host) for host in hosts]


def _certificate(path: Path) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes())


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name}: not the kind of key that was made here")
    return key


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
