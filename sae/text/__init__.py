"""Text: from files to documents, from documents to tokens, from tokens to packed rows. No Ray in here."""
