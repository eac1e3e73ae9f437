"""What the speed claims rest on."""
