"""A client driver that ships: its clients are pages in a real Chromium, which a page of the user's reports on."""
