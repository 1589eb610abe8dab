certfile = __file__  # any file: without it gunicorn speaks plain HTTP; nobody reads it


def ssl_context(config, default):
    from app import context

    return context
