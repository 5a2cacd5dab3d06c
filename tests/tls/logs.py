"""What was logged, as the operator reads it."""

from twisted.logger import formatEvent


def sentences(events, level):
    """The sentences of one level."""
    return [formatEvent(event) for event in events if event["log_level"] is level]
