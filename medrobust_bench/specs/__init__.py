"""What can be asked for: specifications of threats and certifications, settings of a run."""
