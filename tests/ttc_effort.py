"""An effort that is chosen for each request."""

from farthing.core.request import Request


def chosen(request: Request) -> float:
    """The longer the question, the more effort."""
    return len(request.prompt) / 10
