"""The ground that planning and computing both stand on: values that are checked when they are made.

A spec is what a node's id is made from. Its canonical form leaves out labels and every field that has its default, so
that a field added later (a new method's switch) leaves the ids of existing nodes alone. A default is therefore part of
a kind's meaning: whoever changes one raises that kind's version.

Here are the parts that several rooms share, and the bases. What can be had in several forms has a room of its own, in
which each form is one file, found by itself: models/families, attacks/algorithms, terms, data/readers, stages.
"""
