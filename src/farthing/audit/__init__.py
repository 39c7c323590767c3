"""Other people's logs: what they claim was spent, what it really cost, what could be saved."""
