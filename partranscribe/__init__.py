"""partranscribe: piano recordings to MIDI and note lists."""

__version__ = "0.1.0"
