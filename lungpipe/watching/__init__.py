"""Who watches a run: what happens in it is told once, and a status file, a log, metrics and spans listen."""
