"""What a model learns to do: one file a task, each with its rows, its loss and its metrics."""
