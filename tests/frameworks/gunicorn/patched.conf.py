from gevent import monkey

monkey.patch_all()  # before anything imports ssl

certfile = __file__


def ssl_context(config, default):
    from app import context

    return context
