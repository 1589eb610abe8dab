"""The `OpenSSL.SSL.Context` of a mesh: for pyOpenSSL, and so for Twisted.

It is imported when `Mesh.openssl_context` is called.
"""
