"""Time, memory and energy of engines, each alone in its own process, taking turns."""
