"""Trials of data, counted: damaged files, and rows and chats by real tokenizers."""
