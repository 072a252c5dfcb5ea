"""Piano-rolls as MIDI files, by mido: `pip install 'steadygrad[music]'`."""

import pathlib

import numpy as np

from steadygrad.data.music import LOWEST_NOTE

# The data have no tempo. Half a beat a step at 120 beats a minute is near the
# quantisation of all four sets, an eighth or a quarter note.
TICKS_PER_BEAT = 480
TICKS_PER_STEP = 240
VELOCITY = 72


def write(roll: np.ndarray, path: str | pathlib.Path) -> None:
  """Writes a roll; a note that is on in consecutive steps is held.

  Args:
    roll: [T, 88] of 0 and 1.
    path: of the .mid file.

  Raises:
    ValueError: if mido is not installed.
  """
  try:
    import mido  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise ValueError(
      f'{path} needs mido, which is not installed: pip install -e ".[music]"'
    ) from None
  track = mido.MidiTrack()
  silence = np.zeros((1, roll.shape[1]), np.int8)
  padded = np.concatenate([silence, roll.astype(np.int8), silence])
  last = 0
  for step, change in enumerate(np.diff(padded, axis=0)):
    for note in np.flatnonzero(change):
      now = step * TICKS_PER_STEP
      track.append(
        mido.Message(
          "note_on" if change[note] > 0 else "note_off",
          note=int(note) + LOWEST_NOTE,
          velocity=VELOCITY,
          time=now - last,
        )
      )
      last = now
  file = mido.MidiFile(ticks_per_beat=TICKS_PER_BEAT)
  file.tracks.append(track)
  file.save(path)
