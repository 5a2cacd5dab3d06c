"""
The audit ledger: one line for each mail transaction and each POP3 session, chained so that a change is noticed.

Theory of operation.  A session says what was done in it (`session/smtp_notes.py`), its owner adds who and where
(`downstream/account.py`), and the `Clerk` has it written.  `record` says what a line holds, `chain` how lines hold on
to each other; both are pure.  `writer` is the file, `clerk` the event loop's side of it.  `verify` and `search` read
files that nobody needs to be running for; they need no Twisted either, so nothing is imported here.
"""
