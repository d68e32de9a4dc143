"""What a model sees: entries as text and pictures within a budget, and pages of the rest."""
