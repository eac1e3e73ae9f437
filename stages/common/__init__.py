"""What the stages share: parameters, the files between stages, the terminal. No TensorFlow."""
