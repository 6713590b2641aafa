"""Events in arrays: files of NumPy and HDF5. They name the columns of events, but not always the unit of the times."""
