"""Help for tests of bots and plugins. Nothing is imported until it is asked for by name."""
