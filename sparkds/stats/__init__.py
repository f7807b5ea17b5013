"""Statistics as pure functions of numbers: no Spark, no files."""
