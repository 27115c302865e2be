"""The numbers of the README, each by one command: `cifar bench NAME`."""
