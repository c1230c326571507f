"""What goes over the wire, with descriptions and examples: the OpenAPI document is made from it."""
