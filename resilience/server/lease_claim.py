"""Which lease of a run is this server's, also when the reply to its acquisition was lost. Knows one run."""

from __future__ import annotations

from resilience.server.database import OutcomeUnknownError
from resilience.server.store import RunLease, Store


class LeaseClaim:
    """The claim of a server on a run whose ``lease`` it had last, or has found.

    Another server that acquired the lease while the outcome of our own acquisition was unknown looks like this one:
    it loses the lease to the next acquisition, as any older server does, and stops writing.
    """

    def __init__(self, lease: RunLease) -> None:
        self.lease = lease
        self._next_may_be_ours = False

    def covers(self, found: RunLease) -> bool:
        """Whether the lease that the database has is this server's, as far as it can know."""
        following = RunLease(self.lease.key, self.lease.incarnation + 1)
        if found == following and self._next_may_be_ours:
            self.lease = found
        self._next_may_be_ours = False
        return found == self.lease

    def acquire(self, store: Store) -> RunLease:
        """Acquire the next lease; called off the event loop. StoreError: ask :meth:`covers` before the next attempt."""
        try:
            self.lease = store.acquire_lease(self.lease.key)
        except OutcomeUnknownError:
            self._next_may_be_ours = True
            raise
        return self.lease
