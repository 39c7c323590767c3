"""HTTPS, where the configuration names a certificate."""

from __future__ import annotations

import ssl

from farthing.gateway.config import Config


def tls_context(config: Config) -> ssl.SSLContext | None:
    """For connections of clients; None where they come in plain.

    Raises ConfigError for files that cannot be read, or do not belong together.
    """
    gateway = config.gateway
    if gateway.tls_cert is None:
        if gateway.tls_key is not None:
            raise config.error("tls_key needs tls_cert", "gateway", "tls_key")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, config)
    return context


def load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Use the certificate of `config` for connections from now on; raises as `tls_context`."""
    gateway = config.gateway
    assert gateway.tls_cert is not None
    cert = config.file(gateway.tls_cert)
    key = None if gateway.tls_key is None else config.file(gateway.tls_key)
    for name, file in (("tls_cert", cert), ("tls_key", key)):
        if file is not None and not file.is_file():
            raise config.error(f"there is no file {file}", "gateway", name)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        message = f"no certificate chain with its key in PEM format can be read: {reason}"
        raise config.error(message, "gateway", "tls_cert") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted; decrypt it")
