import os

# Of a worker that does not ask for the context: then these are used.
certfile = f"{os.environ['MESHID_CREDENTIALS']}/tls.crt"
keyfile = f"{os.environ['MESHID_CREDENTIALS']}/tls.key"


def ssl_context(config, default):
    from asgi import context

    return context
