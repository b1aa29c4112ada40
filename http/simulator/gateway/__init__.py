"""Discord's gateway: sessions, the websocket they are spoken over, and who gets which event."""
