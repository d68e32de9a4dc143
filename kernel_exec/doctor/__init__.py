"""Whether everything that kernel-exec needs works on this machine; looking changes nothing."""
