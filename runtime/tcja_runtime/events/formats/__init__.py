"""One reader for each file format of event cameras."""
