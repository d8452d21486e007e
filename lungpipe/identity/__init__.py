"""The identity audit: known names, ids, dates and UIDs are searched for in every file, and none may be found."""

from lungpipe.identity.audit import AuditReport, audit_workspace
from lungpipe.identity.controls import Control, prove
from lungpipe.identity.search import search_identities
from lungpipe.identity.terms import KINDS, Term, known_terms

__all__ = [
    "KINDS",
    "AuditReport",
    "Control",
    "Term",
    "audit_workspace",
    "known_terms",
    "prove",
    "search_identities",
]
