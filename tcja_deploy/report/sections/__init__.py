"""The sections of the report of an export, a module for each question that they answer."""
