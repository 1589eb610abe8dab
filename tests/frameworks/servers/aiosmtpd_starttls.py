"""aiosmtpd, with STARTTLS."""

from __future__ import annotations

import asyncio

from tests.frameworks.servers.aiosmtpd_tls import context, serve

asyncio.run(serve(tls_context=context, require_starttls=True))
