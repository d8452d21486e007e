"""Where results come from and what they lead to: trace, impact, withdrawal, exports and queries."""
