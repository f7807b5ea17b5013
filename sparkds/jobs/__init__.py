"""Jobs: what the command line, spark-submit and a bundle run, one module a job."""
