"""``cloche``, whose scripted model does not wait between words."""

from __future__ import annotations

from cloche.cli.main import main
from cloche.llm.scripted import ScriptedModel

if __name__ == "__main__":
    defaults = ScriptedModel.__init__.__kwdefaults__
    assert defaults is not None
    defaults["delay_s"] = 0.0
    main()
