"""Commands for people, on their own machine and with their own rights: they know the API and kubectl, not the operator."""
