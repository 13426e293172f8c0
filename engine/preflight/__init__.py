"""What a run will take before it starts: by formula, by real steps, and of every method beside the others."""
