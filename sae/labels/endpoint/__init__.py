"""Labels in words from an OpenAI-compatible model server, and how well the server recognises features by them."""
