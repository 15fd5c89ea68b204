"""One layout on disk per file, each to an ordered collection of samples."""
