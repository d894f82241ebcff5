"""The rules of the house that no linter has; each is a function from source text to its violations."""
