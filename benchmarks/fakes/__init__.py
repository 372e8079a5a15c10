"""Small servers that speak the protocols of five LiveKit plugins, and that break when told to.

What they recognise is made of numbers: a stretch of samples of the value 1000 * n is the word "wn",
and zeros are silence. So whatever is lost, told twice or shifted shows in the text and its times.
"""
