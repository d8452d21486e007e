"""What a workspace holds: volumes, tables, and the ledger that says what made them."""
