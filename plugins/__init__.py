"""The bundled plugins. Each uses only zxmpp's public names, as any other plugin does."""
