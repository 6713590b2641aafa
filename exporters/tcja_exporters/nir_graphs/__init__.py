"""Networks from files of NIR, the Neuromorphic Intermediate Representation."""
