"""Tokens, scopes, the guard of all routes, and redaction."""
