"""What can be written in the config, for editors and readers: the JSON schema, the reference page, the switches."""
