"""Choose and certify: replay, the search of thresholds, the plan file."""
