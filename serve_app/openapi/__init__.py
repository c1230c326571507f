"""The OpenAPI document beside the schemas."""
