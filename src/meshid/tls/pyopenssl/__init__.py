"""The `OpenSSL.SSL.Context` of a mesh: for pyOpenSSL, and so for Twisted.

`OpenSSL` is imported here and nowhere else, when `Mesh.openssl_context` is called.
"""
