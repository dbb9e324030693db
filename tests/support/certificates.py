"""Certificates for tests, made with openssl."""

import os
import subprocess


def make_certificate(folder, name, names):
    """Signed by itself, so that it is its own authority; certificate and key."""
    certificate, key = (os.path.join(folder, f"{name}.{kind}.pem") for kind in ("cert", "key"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
