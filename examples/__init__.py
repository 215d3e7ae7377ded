"""Runnable examples; ``zxmpp demo`` runs hello/."""
