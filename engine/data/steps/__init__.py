"""What can be done to a data set: each step a pure function of rows and settings, counted and reversible.

One module a family; `registry` is the list of them, `versions` puts their results in a data set's place.
"""
