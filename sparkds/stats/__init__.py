"""Statistics: pure functions of arrays and of moments; no Spark, no files."""
