"""Files become rows, rows become examples, examples become tokens. No torch, no Qt, no window."""
