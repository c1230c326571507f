"""The web pages: TypeScript source (`src/`), and the built files that are served (`dist/`). See README.md here."""
