"""The sums that training spends its time in, written for fewer passes over memory; each with its own gradient."""
