"""Labels of features as predictions that can be wrong: predicates that are executed, and scores beside permuted labels."""
