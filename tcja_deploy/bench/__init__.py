"""`bench`: latency, throughput, memory and energy on this machine."""
