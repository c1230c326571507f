"""Values only: stage configs, requirements, identities and profiles. Knows neither Ray nor torch."""
