"""What a training brings down: the terms, each against its formula, and their sum."""
