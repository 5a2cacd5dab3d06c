"""Coroutines, looked at while they run."""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


@define
class Outcome:
    """What a coroutine has come to by now: `running`, `value` or `error`."""

    deferred: Deferred
    results: list = field(factory=list)

    @classmethod
    def of(cls, coroutine):
        outcome = cls(Deferred.fromCoroutine(coroutine))
        outcome.deferred.addBoth(outcome.results.append)
        return outcome

    @property
    def running(self):
        return not self.results

    @property
    def value(self):
        (result,) = self.results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    @property
    def error(self):
        (result,) = self.results
        assert isinstance(result, Failure), result
        return result.value


def start(coroutine):
    """The coroutine runs as far as it can."""
    return Outcome.of(coroutine)


def run(coroutine):
    """The coroutine ends at once: its value, or its error."""
    return Outcome.of(coroutine).value
