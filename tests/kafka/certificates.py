"""An authority of our own, and certificates that it has signed, made with openssl into a temporary folder."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "of the stores"


class Certificates:
    """`ca.pem`, and for `broker` and `client` NAME.pem, NAME.key and the Java store NAME.p12."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
                      "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        # The address is in the certificate and the name `localhost` is not: a host-name check has something to find.
        self._sign("broker", "subjectAltName=IP:127.0.0.1")
        self._sign("client", "subjectAltName=DNS:client")
        self._openssl("rsa", "-in", "client.key", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "locked.key")
        subprocess.run(
            ["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", "ca.pem", "-storetype", "PKCS12",
             "-keystore", "trust.p12", "-storepass", PASSWORD],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip

    @property
    def broker_properties(self) -> dict[str, object]:
        """What a broker needs that asks its clients for certificates."""
        return {
            "ssl.keystore.location": self.folder / "broker.p12",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.password": PASSWORD,
            "ssl.key.password": PASSWORD,
            "ssl.truststore.location": self.folder / "trust.p12",
            "ssl.truststore.type": "PKCS12",
            "ssl.truststore.password": PASSWORD,
            # Without the listener's name it would hold for SSL alone, not for SASL_SSL.
            "listener.name.sasl_ssl.ssl.client.auth": "required",
        }

    def _sign(self, name: str, extension: str) -> None:
        (self.folder / f"{name}.cnf").write_text(f"{extension}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", f"{name}.cnf", "-out", f"{name}.pem")  # fmt: skip
        self._openssl("pkcs12", "-export", "-in", f"{name}.pem", "-inkey", f"{name}.key", "-name", name,
                      "-passout", f"pass:{PASSWORD}", "-out", f"{name}.p12")  # fmt: skip

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
