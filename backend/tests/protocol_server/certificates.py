"""Certificates for the HTTPS listener, made anew for each test by an authority that nobody else trusts."""

import ssl
from datetime import UTC, datetime, timedelta

import trustme

from tests.protocol_server.door import HOST


class Authority:
    """Issues what a server shows; `trust` makes a client's context believe it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def trust(self, context: ssl.SSLContext) -> None:
        self._authority.configure_trust(context)

    def valid(self) -> ssl.SSLContext:
        return self._context(self._authority.issue_cert(HOST))

    def expired(self) -> ssl.SSLContext:
        """A certificate for the right host that ran out yesterday."""
        yesterday = datetime.now(UTC) - timedelta(days=1)
        return self._context(
            self._authority.issue_cert(HOST, not_before=yesterday - timedelta(days=30), not_after=yesterday)
        )

    def for_another_host(self) -> ssl.SSLContext:
        return self._context(self._authority.issue_cert("elsewhere.example.org"))

    def _context(self, certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
