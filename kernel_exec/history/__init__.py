"""What happened: entries and their outputs, the database, large outputs as files, retention."""
