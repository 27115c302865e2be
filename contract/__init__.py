"""What every stage agrees on: names, files, formats, and where metadata are."""
