"""What runs in foreign interpreters; sent there as it is, and imported by nobody here."""
