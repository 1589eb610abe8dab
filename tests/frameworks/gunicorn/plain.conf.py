def ssl_context(config, default):
    from app import context

    return context
