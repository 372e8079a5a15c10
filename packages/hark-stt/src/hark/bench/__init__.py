"""`hark bench`: recordings fed to recognisers in real time, and what is measured of it.

`recordings` -> `scripts` (what each stream plays) -> `play` (plays them to a `contestant`) ->
`measures`, with `usage` of the machine meanwhile; `ramp` decides about the next number of streams,
`report` and `plots` show the outcome. Definitions: docs/benchmarks.md, "Latency and capacity".
"""
