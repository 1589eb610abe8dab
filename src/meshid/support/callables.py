"""What can be called, and with how many arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def takes(thing: Callable[..., object], number: int) -> bool:
    """Tell whether *thing* can be called with so many positional arguments.

    What does not say, such as something that is compiled, takes any number.
    """
    try:
        inspect.signature(thing).bind(*[None] * number)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
