"""Steps: order, blocks, gradients, the optimizer, evaluations, and the loop that runs them."""
