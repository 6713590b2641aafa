"""A Ray cluster, or Ray on this machine, that computes on windows of data sets with many processes."""
