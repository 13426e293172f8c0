"""Claims of quality, repeatable: what tuning reaches, beside references."""
