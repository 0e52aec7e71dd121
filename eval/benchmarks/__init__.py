"""Published benchmarks: any model, or a file of its predictions, graded by the published rule and by ours."""
