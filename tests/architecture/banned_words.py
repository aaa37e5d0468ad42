"""Words that this project does not use, with the word to write instead. Data only; ``test_vocabulary`` applies it.

``NAMES``: parts of identifiers and file names, as they read after splitting at underscores and capitals.
``PROSE``: regular expressions for docstrings, comments, messages, pages and the sentences in names of tests.
``NOT_YET``: files and folders whose prose and names are still to be rewritten. The list only gets shorter.
"""

from __future__ import annotations

NAMES: dict[str, str] = {
    "agenda": "deadlines",
    "books": "stored run",
    "courier": "delivery scheduler",
    "crew": "workers or participants",
    "death pact": "parent death",
    "deathpact": "parent death",
    "desk": "registry, pending answers or host commands",
    "door": "handshake policy",
    "doorman": "handshake policy",
    "evening": "scenario",
    "farewell": "leave message",
    "for ever": "no limit",
    "forgive": "extend by lag",
    "guest": "connection",
    "guests": "connections",
    "hush": "stop reading",
    "imposed": "injected",
    "impositions": "link faults",
    "last words": "log tail or final records",
    "ledger": "stored run, results or durability checks",
    "marching orders": "urls",
    "mob": "attackers",
    "patience": "timeout",
    "podium": "host console",
    "portrait": "snapshot builder",
    "reception": "identity registry",
    "retune": "set timeouts",
    "seat": "client",
    "seats": "clients",
    "sleep watch": "suspend detector",
    "take up": "restore or recover",
    "taken up": "recovered",
    "tend": "check",
    "theatre": "server",
    "tireless": "retry forever",
    "unsaid": "hidden messages",
    "witness": "observer",
}

PROSE: dict[str, str] = {
    r"(?:take|takes|taking|taken|took) (?:\w+ )?up": "recover, restore, resume or continue",
    r"(?:go|goes|going|gone|went) on": "continue, advance or resume",
    r"anew": "again",
    r"(?:look|looks|looked) whether": "check that",
    r"(?:look|looks|looked|looking) at": "read, check or examine",
    r"(?:hold|holds|held) against": "compare with, charge to",
    r"held against": "compared with, charged to",
    r"for ever": "forever, permanently or without a limit",
    r"as it comes": "in order of arrival, or unchanged",
    r"whoever|whomever": "the technical name of the subject",
    r"nobody": "no client, no process, no participant ...",
    r"somebody": "a client, another process, a host ...",
    r"everybody": "all participants, all clients ...",
    r"(?:is|are|was|were|be|been|being) told": "receives",
    r"(?:is|are|was|were|be|been|being) (?:sent|turned) away": "rejected",
    r"(?:sent|sends?|sending) home|sends? everybody": "drain, close",
    r"guests?": "connections or clients",
    r"newcomers?": "new connections or new participants",
    r"beside": "in addition to, next to",
    r"lets? go of": "release, close",
    r"what becomes? of|what became of": "the outcome of",
    r"comes? to nothing|came to nothing": "fails",
    r"mend|mends|mended|mending": "repair, fix",
    r"patience": "timeout",
    r"at the door": "at the handshake",
    r"evenings?": "event or scenario",
    r"theatres?|podiums?|doorm[ae]n|couriers?|death pacts?|portraits?|witness(?:es)?|ledgers?|crews?": "see NAMES",
    r"without a word": "without a close frame or message",
}

NOT_YET: tuple[str, ...] = ()
