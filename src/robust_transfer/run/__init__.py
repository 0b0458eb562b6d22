"""How nodes, tables and figures are made: the command, the warm process, and what surrounds every stage."""
