"""Where the pictures come from: fetched or found, verified, and read."""
