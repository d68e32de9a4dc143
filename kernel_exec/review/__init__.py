"""A notebook as a page for reviewers."""
