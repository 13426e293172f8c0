"""The engine: what computes. No Qt, no database; see ARCHITECTURE.md for its face and its inside."""

VERSION = "0.1.0"
