"""Where the work of a run is done: here, or by workers elsewhere. The driver alone writes the journal."""
