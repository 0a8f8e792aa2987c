"""What can be done with models, their versions, aliases and stages, approvals, and how their history is asked."""
