"""Who may ask: tokens, scopes, and what is taken out of answers."""
