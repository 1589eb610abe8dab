certfile = __file__


def ssl_context(config, default):
    from asgi import context

    return context
