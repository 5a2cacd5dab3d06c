"""All that an operator sees."""
