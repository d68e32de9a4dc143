"""What a client starts, and how the host of a storage root is found; imports next to nothing."""
