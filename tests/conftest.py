import asyncio

# Else pytest-asyncio, asking for the loop that was there before its own, makes one on Python 3.11
# and leaves it open.
asyncio.set_event_loop(None)
