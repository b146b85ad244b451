"""What pydantic finds wrong with a message, as a failure of the service."""

from pydantic import ValidationError

from service.errors import InvalidRequest


def invalid_request(error: ValidationError, where: str = "") -> InvalidRequest:
    """Each fault with its place, which begins with `where`; what was sent is not repeated."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(map(str, ([where] if where else []) + list(fault["loc"])))
        what = "there is no such field" if fault["type"] == "extra_forbidden" else fault["msg"]
        faults.append(f"{place}: {what}" if place else what)
    return InvalidRequest("; ".join(faults))
