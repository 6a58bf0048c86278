"""What a person looks at: the report of the quickstart, its story, plots and the Pareto picture."""
