"""Sessions translate between the wire and the model, over any transport."""
