"""Models on disk: opening, listing, fetching, converting and making them."""
