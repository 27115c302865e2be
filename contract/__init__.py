"""What all stages share: names, files, formats, and the location of the metadata."""
