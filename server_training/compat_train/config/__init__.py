"""What a run is told, as frozen dataclasses that refuse what cannot work, and their way from and to plain values."""
