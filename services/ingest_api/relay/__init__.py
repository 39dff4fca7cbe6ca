"""The relay: what Plaudit answers also goes on to the vendor, and what it does not own is proxied there."""
