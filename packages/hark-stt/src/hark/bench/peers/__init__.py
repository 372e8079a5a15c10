"""What Hark is measured against, one module each, with a coroutine `start(options)`.

None of what they import is a dependency of Hark: `make bench-peers` has an environment of its own.
"""
