"""TLS: real `ssl.SSLContext` objects that admit or refuse in the handshake."""
