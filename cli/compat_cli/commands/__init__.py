"""The commands, a module each: arguments in, one library call, a few lines out."""
