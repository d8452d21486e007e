"""What two runs have in common and what changed between them: settings, cohort, features and scores."""
