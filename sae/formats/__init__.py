"""One file per artifact kind: schema, writer, reader. No Ray and no store: files are handed in as `ArtifactFilesLike`."""
